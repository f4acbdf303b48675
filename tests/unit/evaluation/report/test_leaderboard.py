"""The result of an evaluation as rows and in one sentence."""

import pytest

from tests.unit.evaluation.documents import evaluation_document, figure, system_figures
from tests.unit.evaluation.world import CONFIG
from tfrs_twotower.evaluation.report.leaderboard import differences, headline, leaderboard


def test_leaderboard_rows(evaluation):
    rows = leaderboard(evaluation.document, CONFIG.ks)
    sums = [sum(figure.mean for figure in row.figures.values()) for row in rows]
    assert sums == sorted(sums, reverse=True)
    assert [row.system for row in rows if row.is_model] == ["retrieval"]


def test_leaderboard_rows_with_two_stages(cascade):
    rows = {row.system: row for row in leaderboard(cascade.document, CONFIG.ks)}
    assert [name for name, row in rows.items() if row.is_model] == ["retrieval", "cascade"]
    assert "first 12 of retrieval" in rows["cascade"].description
    assert "nothing ranks after it" not in rows["retrieval"].description
    assert rows["cascade"].verdict == cascade.document.verdict
    assert rows["retrieval"].verdict.system == "retrieval"
    assert rows["ease"].verdict is None


def test_a_difference_is_the_models_and_so_is_its_standing(cascade):
    of_cascade = differences(cascade.document, "cascade", ("ease", "retrieval", "popularity"))
    assert list(of_cascade) == ["ease", "retrieval", "popularity"]
    for name, by_metric in of_cascade.items():
        for metric, found in by_metric.items():
            means = [cascade.document.systems[s].metrics[metric].mean for s in ("cascade", name)]
            assert found.comparison.difference == pytest.approx(means[0] - means[1])
            higher = "ahead" if means[0] > means[1] else "behind"
            assert found.standing == (higher if found.comparison.significant else "level")
    assert "cascade" not in differences(cascade.document, "retrieval", ("cascade", "ease"))


def document(difference, *, significant, hybrid=None, pre_ranked=None):
    entries = [("ease", difference, significant)]
    systems = {"retrieval": system_figures({"recall@10": 0.5, "ndcg@10": 0.2})}
    if hybrid is not None:
        entries.append(("hybrid", 0.5 - hybrid, True))
        systems["hybrid"] = system_figures({"recall@10": hybrid})
    comparisons = [
        compared("retrieval", name, "recall@10", value, sure) for name, value, sure in entries
    ]
    funnel = {"pool": None}
    if pre_ranked is not None:
        systems["cascade"] = system_figures({"ndcg@10": 0.2 + pre_ranked})
        comparisons[:0] = [
            compared("cascade", name, metric, pre_ranked, abs(pre_ranked) > 0.01)
            for name in ("retrieval", "ease")
            for metric in ("ndcg@10", "recall@10")
        ]
        pool = {"num_candidates": 50, "recall@50": figure(0.9), "weights": {}, "kept": {}}
        funnel = {"pool": pool}
    return evaluation_document(
        systems=systems,
        protocol={"ranked_candidates": 1000},
        funnel=funnel,
        comparisons=comparisons,
    )


def compared(a, b, metric, difference, significant):
    p = {"p": 0.1, "p_holm": 0.1, "p_t_test": 0.1, "test": "planted"}
    sides = {"a": a, "b": b, "metric": metric, "difference": difference, "ci95": [0, 0]}
    return sides | p | {"significant": significant}


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
