import json
import re
from dataclasses import replace

import numpy as np
import pytest

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
