import numpy as np
import pytest
from scipy import sparse

from tfrs_twotower.evaluation import wording
from tfrs_twotower.evaluation.baselines.item_knn import (
    ItemKnnScorer,
    cosine_neighbours,
    nearest,
)
from tfrs_twotower.evaluation.examples import shorten
from tfrs_twotower.evaluation.headline import headline
from tfrs_twotower.evaluation.pictures.index_tradeoff import draw_tradeoff, taken_point, verdict
from tfrs_twotower.evaluation.pictures.slice_dots import draw_slices
from tfrs_twotower.evaluation.pictures.training_curves import (
    draw_training,
    loss_points,
    terms_of,
)

SWEEP = [
    {"reorder": 100, "overlap": 0.88, "p50_ms": 1.1},
    {"reorder": 200, "overlap": 1.0, "p50_ms": 2.6},
    {"reorder": 300, "overlap": 1.0, "p50_ms": 0.7},
]
QUALITY = {"kind": "scann", "k": 10, "overlap": 1.0, "exact_p50_ms": 0.8, "target": 0.98}


def document(difference, *, significant, hybrid=None, pre_ranked=None):
    entries = [("ease", difference, significant)]
    systems = {"retrieval": {"metrics": {"recall@10": {"mean": 0.5, "queries": 1200}}}}
    if hybrid is not None:
        entries.append(("hybrid", 0.5 - hybrid, True))
        systems["hybrid"] = {"metrics": {"recall@10": {"mean": hybrid}}}
    comparisons = [
        {"a": "retrieval", "b": name, "metric": "recall@10", "difference": value}
        | {"significant": sure}
        for name, value, sure in entries
    ]
    if pre_ranked is not None:
        systems["retrieval"]["metrics"]["ndcg@10"] = {"mean": 0.2}
        systems["cascade"] = {"metrics": {"ndcg@10": {"mean": 0.2 + pre_ranked}}}
        comparisons[:0] = [
            {"a": "cascade", "b": name, "metric": metric, "difference": pre_ranked}
            | {"significant": abs(pre_ranked) > 0.01}
            for name in ("retrieval", "ease")
            for metric in ("ndcg@10", "recall@10")
        ]
    return {
        "systems": systems,
        "protocol": {"ranked_candidates": 1000},
        "funnel": {"pool": None if pre_ranked is None else {"num_candidates": 50}},
        "comparisons": comparisons,
    }


@pytest.mark.parametrize(
    ("difference", "significant", "expected"),
    [
        (0.033, True, "hold 50.0 % of what was relevant: 3.3 points more than EASE"),
        (-0.02, True, "2.0 points less than EASE, the best baseline."),
        (0.004, False, "relevant. EASE, the best baseline, is not significantly worse (49.6 %)."),
        (-0.004, False, "is not significantly better (50.4 %)."),
    ],
)
def test_the_headline_says_who_is_ahead(difference, significant, expected):
    text = headline(document(difference, significant=significant), (10,), ["ease"])
    assert expected in text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_headline_does_not_hide_a_better_hybrid():
    text = headline(document(0.1, significant=True, hybrid=0.6), (10,), ["hybrid", "ease"])
    assert text.endswith(
        "Fused with BM25 (hybrid) it is 60.0\N{NO-BREAK SPACE}%, a significant gain."
    )
    assert "more than EASE, the best baseline" in text


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (0.05, "takes ndcg@10 from 0.200 to 0.250, a significant gain."),
        (-0.05, "takes ndcg@10 from 0.200 to 0.150, a significant loss."),
        (0.001, "takes ndcg@10 from 0.200 to 0.201, no significant difference."),
    ],
)
def test_the_headline_says_what_pre_ranking_adds(difference, expected):
    given = document(0.1, significant=True, pre_ranked=difference)
    text = headline(given, (10,), ["ease"]).replace("\N{NO-BREAK SPACE}", " ")
    assert "retrieval's first 10 of 1,000 candidates hold 50.0 %" in text
    assert "10.0 points more than EASE" in text
    assert text.endswith(f"Pre-ranking retrieval's first 50 {expected}")


def test_the_taken_setting_is_found_by_its_parameters_not_by_its_overlap():
    quality = QUALITY | {"sweep": SWEEP, "parameters": {"reorder": 300}}
    assert taken_point(quality) == SWEEP[2]
    assert "0.70 ms, exact search in 0.80 ms: 1.1 times faster" in verdict(quality)
    slower = quality | {"parameters": {"reorder": 200}}
    assert "needs no approximate index" in verdict(slower)
    assert ">300 taken<" in draw_tradeoff(quality)


@pytest.mark.parametrize("sweep", [[], [{"overlap": None, "p50_ms": 1.0}]])
def test_without_measured_points_there_is_no_tradeoff(sweep):
    assert draw_tradeoff(QUALITY | {"sweep": sweep}) is None
    assert verdict(QUALITY | {"sweep": sweep}) == ""


def test_one_point_is_a_picture():
    assert "taken" in draw_tradeoff(QUALITY | {"sweep": SWEEP[:1]})


def test_a_refit_is_a_curve_of_its_own():
    log = [{"phase": "fit", "step": step, "loss": 9.0 - step} for step in (1, 2, 3)]
    log[1]["validation"] = {"recall@10": 0.4, "mean_norm": 1.0}
    log += [{"phase": "refit", "step": step, "loss": 8.0 - step} for step in (1, 2)]
    assert loss_points(log) == {
        "fit": [(1.0, 8.0), (2.0, 7.0), (3.0, 6.0)],
        "refit": [(1.0, 7.0), (2.0, 6.0)],
    }
    drawn = draw_training(log)
    assert "refit: training and validation" in drawn
    assert "recall@10 on validation queries" in drawn
    assert "0.400" in drawn
    assert draw_training([]) is None
    assert "validation queries" not in draw_training([{"step": 1, "loss": 2.0}])


def test_every_term_of_the_objective_has_a_panel_of_its_own():
    names = ("retrieval", "mimic_query", "mimic_candidate", "category_alignment", "dual", "pairs")
    other = {"gradient_norm": 1.0, "learning_rate": 0.1, "examples_per_s": 9.0, "epoch": 0.5}
    log = [
        {"phase": "fit", "step": step, "loss": 6.0, **dict.fromkeys(names, 1.0 / step), **other}
        for step in (1, 2, 3)
    ]
    log[2]["validation"] = {"recall@10": 0.4}
    assert terms_of(log) == list(names)
    assert loss_points(log, "dual") == {"fit": [(1.0, 1.0), (2.0, 0.5), (3.0, 1.0 / 3)]}
    drawn = draw_training(log)
    for name in names:
        assert f">{name.replace('_', ' ')}<" in drawn
    assert drawn.count(">step<") == 2 + 3
    one = [{key: value for key, value in line.items() if key not in names[1:]} for line in log]
    assert ">retrieval<" not in draw_training(one)


def test_slices_that_are_the_whole_test_are_not_drawn():
    whole = {"recall@10": {"mean": 0.5, "ci95": [0.4, 0.6], "queries": 9}}
    part = {"recall@10": {"mean": 0.7, "ci95": [0.4, 0.9], "queries": 3}}

    def systems(**slices):
        return {
            "retrieval": {
                "metrics": whole,
                "slices": {
                    name: {"title": name, "queries": 9, "metrics": figures}
                    for name, figures in slices.items()
                },
            }
        }

    assert draw_slices(systems(everything=whole), "recall@10") is None
    drawn = draw_slices(systems(everything=whole, few=part), "recall@10")
    assert "few" in drawn
    assert "all test queries" in drawn
    assert "everything" not in drawn


def test_long_titles_are_cut_after_a_word():
    assert shorten("two\n words") == "two words"
    assert shorten("alpha beta, gamma", 12) == "alpha beta…"
    assert shorten("x" * 20, 12) == "x" * 12 + "…"
    assert len(shorten("passage of many words " * 50)) <= 111


def test_values_in_words():
    assert wording.number(-1.5, 1) == "\N{MINUS SIGN}1.5"
    assert wording.number(None) == "\N{EN DASH}"
    assert wording.percent(0.123) == "12.3"
    assert [wording.duration(seconds) for seconds in (0.64, 48.2, 190.3, 59.7, 3840)] == [
        "0.6 s", "48 s", "3 min 10 s", "1 min 00 s", "1 h 04 min",
    ]  # fmt: skip
    assert wording.in_words({"a_b": True, "c": [1, 2.5], "d": 12345}) == (
        "a b yes, c 1, 2.5, d 12,345"
    )
    window = {"test_end": 893286639, "train_start": 874724710, "train_end": None}
    assert wording.window_in_words(window) == "train start 1997-09-20, test end 1998-04-22"


def test_fewer_neighbours_of_many_are_the_few_neighbours():
    generator = np.random.default_rng(0)
    matrix = sparse.csr_matrix((generator.random((60, 25)) < 0.3).astype(np.float32))
    many = cosine_neighbours(matrix, 20)
    for count in (1, 3, 20, 100):
        few = nearest(many, count)
        expected = cosine_neighbours(matrix, min(count, 20))
        np.testing.assert_array_equal(few.toarray(), expected.toarray())
        ItemKnnScorer(matrix, few)(np.arange(60))
        ItemKnnScorer(matrix, many)(np.arange(60))  # scoring leaves the order alone
