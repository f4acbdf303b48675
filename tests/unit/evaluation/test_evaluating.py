import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.evaluation.stages import random_stage
from tests.unit.evaluation.world import make_world, without_history
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.evaluation.evaluating import evaluate
from tfrs_twotower.evaluation.examples import make_example
from tfrs_twotower.evaluation.leaderboard import leaderboard
from tfrs_twotower.evaluation.page import render_page
from tfrs_twotower.evaluation.slices import head_candidates
from tfrs_twotower.evaluation.strict_json import to_plain, write_json

CONFIG = EvaluateConfig(ks=(2, 5, 10), num_bootstrap=50, num_example_queries=3)


@pytest.fixture(scope="module")
def inputs():
    return make_world()


@pytest.fixture(scope="module")
def evaluation(inputs):
    return evaluate(inputs, CONFIG, refit=True)


def test_the_document_has_the_agreed_keys(evaluation, tmp_path):
    document = evaluation.document
    assert set(document) == {
        "dataset", "protocol", "leakage_check", "systems", "funnel", "comparisons",
        "embedding_space", "timings", "environment",
    }  # fmt: skip
    assert set(document["systems"]) == {
        "retrieval", "cascade", "popularity", "recent_popularity", "item_knn", "ease",
    }  # fmt: skip
    entry = document["systems"]["ease"]["metrics"]["recall@5"]
    assert set(entry) == {"mean", "ci95", "queries"}
    assert entry["ci95"][0] <= entry["mean"] <= entry["ci95"][1]
    assert entry["queries"] == 40
    assert document["funnel"]["ann_overlap@100"] is None
    assert document["funnel"]["cascade"] == document["funnel"]["retrieval_exact"]
    assert document["funnel"]["pool"] is None
    assert {entry["a"] for entry in document["comparisons"]} == {"retrieval"}
    for comparison in document["comparisons"]:
        assert {"a", "b", "metric", "difference", "p", "test"} <= set(comparison)
    write_json(tmp_path / "evaluation.json", document)
    assert "NaN" not in (tmp_path / "evaluation.json").read_text()


def test_retrieval_finds_its_community(evaluation):
    ranked = evaluation.runs["retrieval"].ranked
    assert np.mean(ranked[:, :5] % 2 == (np.arange(40) % 2)[:, None]) > 0.95


def test_seen_candidates_are_never_ranked(evaluation, inputs):
    for run in evaluation.runs.values():
        for query in range(40):
            assert not set(run.ranked[query]) & set(inputs.test.seen[query])


def test_candidates_that_are_not_eligible_are_never_ranked(inputs):
    eligible = np.arange(30) % 3 != 0
    runs = evaluate(replace(inputs, eligible=eligible), CONFIG).runs
    for run in runs.values():
        assert eligible[run.ranked[run.ranked >= 0]].all()


def test_slices_add_up(evaluation):
    slices = evaluation.document["systems"]["retrieval"]["slices"]
    candidates = [part["relevant"] for name, part in slices.items() if name.startswith("cand")]
    assert sum(candidates) == 80
    assert slices["queries_warm"]["queries"] == 40
    assert slices["history_6-20"]["queries"] == 40


def test_the_head_holds_eighty_percent():
    head = head_candidates(np.array([5, 60, 0, 25, 10]))
    assert head.tolist() == [False, True, False, True, False]


def test_without_refit_baselines_do_not_learn_from_validation(inputs):
    learned = evaluate(inputs, CONFIG, refit=True).runs["popularity"].ranked
    trained = evaluate(inputs, CONFIG, refit=False).runs["popularity"].ranked
    assert not np.array_equal(learned, trained)


def test_the_same_seed_gives_the_same_document(inputs, evaluation):
    assert evaluate(inputs, CONFIG, refit=True).document == evaluation.document


def test_leaderboard_rows(evaluation):
    rows = leaderboard(evaluation.document, CONFIG.ks)
    sums = [sum(figure["mean"] for figure in row.figures.values()) for row in rows]
    assert sums == sorted(sums, reverse=True)
    popularity = next(row for row in rows if row.system == "popularity")
    assert set(popularity.marks.values()) <= {"+", "-", "="}


@pytest.fixture(scope="module")
def two_stages(inputs):
    log = [
        {"member": member, "step": step, "loss": 2.0, "list_softmax": 1.0, "pointwise": 0.5}
        for member in (0, 1)
        for step in (1, 2)
    ]
    log[1]["validation"] = {"ndcg@10": 0.3}
    stage = random_stage(3, 40, 30, (0.2, 1.0, 0.5, -0.25), 12, log)
    return replace(inputs, second_stage=stage)


@pytest.fixture(scope="module")
def cascade(two_stages):
    return evaluate(two_stages, CONFIG, refit=True)


def test_a_second_stage_is_measured_beside_retrieval(cascade, evaluation):
    document, alone = cascade.document, evaluation.document
    assert document["systems"]["retrieval"] == alone["systems"]["retrieval"]
    assert document["systems"]["ease"] == alone["systems"]["ease"]
    assert document["embedding_space"] == alone["embedding_space"]
    found = document["systems"]["cascade"]
    assert found["metrics"] != document["systems"]["retrieval"]["metrics"]
    assert found["metrics"].keys() == document["systems"]["retrieval"]["metrics"].keys()
    assert found["slices"].keys() == document["systems"]["retrieval"]["slices"].keys()
    funnel = document["funnel"]
    assert funnel["cascade"] == found["metrics"]
    assert funnel["pool"]["weights"] == {
        "retrieval": 0.2, "interaction_0": 1.0, "interaction_1": 0.5, "signal_0": -0.25,
    }  # fmt: skip
    ceiling, kept = funnel["pool"]["recall@12"]["mean"], funnel["pool"]["kept"]
    for stage in ("retrieval", "cascade"):
        for k in CONFIG.ks:
            reached = document["systems"][stage]["metrics"][f"recall@{k}"]["mean"]
            assert reached == pytest.approx(ceiling * kept[stage][f"kept@{k}"]["mean"])
            assert reached <= ceiling
    assert "the first 12 of exact retrieval" in document["protocol"]["cascade"]


def test_both_stages_are_compared_in_one_family(cascade):
    entries = cascade.document["comparisons"]
    baselines = ["popularity", "recent_popularity", "item_knn", "ease"]
    pairs = [("cascade", "retrieval"), *(("cascade", name) for name in baselines)]
    pairs += [("retrieval", name) for name in baselines]
    assert [(entry["a"], entry["b"]) for entry in entries[::3]] == pairs
    systems = cascade.document["systems"]
    for entry in entries:
        means = [systems[entry[side]]["metrics"][entry["metric"]]["mean"] for side in "ab"]
        assert entry["difference"] == pytest.approx(means[0] - means[1])
    smallest = min(entries, key=lambda entry: entry["p"])
    assert smallest["p_holm"] == pytest.approx(min(1.0, len(entries) * smallest["p"]))


def test_leaderboard_rows_with_two_stages(cascade):
    rows = {row.system: row for row in leaderboard(cascade.document, CONFIG.ks)}
    assert [name for name, row in rows.items() if row.is_model] == ["retrieval", "cascade"]
    assert "first 12 of retrieval" in rows["cascade"].description
    assert "nothing ranks after it" not in rows["retrieval"].description
    signs = {name: {len(mark) for mark in row.marks.values()} for name, row in rows.items()}
    assert signs["cascade"] == {0}
    assert signs["retrieval"] == {1}
    assert signs["ease"] == {2}
    first = next(e for e in cascade.document["comparisons"] if e["b"] == "popularity")
    expected = "=" if not first["significant"] else "+" if first["difference"] > 0 else "-"
    assert rows["popularity"].marks[first["metric"]][0] == expected


def test_the_page_shows_both_stages(cascade, two_stages, evaluation, inputs):
    page = render_page(cascade, two_stages, CONFIG, 0)
    assert "<h2>Pre-ranking</h2>" in page
    assert page.count("<h4>cascade returned</h4>") == 3
    assert page.count("<h4>retrieval returned</h4>") == 3
    assert page.count(">list softmax<") == 2
    assert page.count("</b> of 2</summary>") == 2
    assert "ndcg@10 on validation queries" in page
    assert "recall@12 of exact" in page
    assert "signal 0" in page
    alone = render_page(evaluation, inputs, CONFIG, 0)
    for absent in ("cascade returned", "Pre-ranking", "recall@12", "list softmax"):
        assert absent not in alone


def test_the_page_stands_alone_and_escapes(evaluation, inputs):
    quality = {
        "kind": "scann", "k": 10, "overlap": 0.99, "target": 0.98, "exact_p50_ms": 1.0,
        "sweep": [{"overlap": 0.9, "p50_ms": 0.1}, {"overlap": 0.99, "p50_ms": 0.3}],
    }  # fmt: skip
    log = [{"step": step, "loss": 1 / step, "validation": {"recall@5": 0.1}} for step in (1, 2)]
    inputs = replace(inputs, index_quality=quality, training_log=log)
    page = render_page(evaluation, inputs, CONFIG, 0)
    assert "&lt;Title&gt;" in page
    assert "<Title>" not in page
    assert not re.search(r"(?:https?:)?//[a-z]|<script|<link|@import|url\((?!#)", page)
    assert page.count("<svg") == 5


def test_the_page_of_text_data_without_index_or_log():
    inputs = without_history(make_world(texts=True))
    evaluation = evaluate(inputs, CONFIG)
    assert {"bm25", "hybrid"} < set(evaluation.document["systems"])
    assert "No index was built" in render_page(evaluation, inputs, CONFIG, 0)


def test_an_example_shows_titles_beside_the_history(inputs):
    query = inputs.test.ids.index("q03")
    ranked = np.tile(np.arange(4), (len(inputs.test.ids), 1))
    example = make_example(inputs, {"retrieval": ranked}, query, 4)
    assert len(example.history) == 4
    assert len(example.lists["retrieval"]) == 4
    assert example.history[0] == f"<Title> {inputs.log.candidate[3 * 9 + 6]}"


def test_numbers_that_are_not_finite_become_null():
    found = to_plain({"a": float("nan"), "b": [np.float32("inf")], 3: np.int64(2)})
    assert json.dumps(found) == '{"a": null, "b": [null], "3": 2}'
