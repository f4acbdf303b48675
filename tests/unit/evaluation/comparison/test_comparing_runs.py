"""The document of a comparison on planted runs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.unit.evaluation.comparison.planted_runs import METRICS, run_result, seed_result
from tfrs_twotower.errors import ComparisonError
from tfrs_twotower.evaluation.comparison.comparing_runs import compare_runs
from tfrs_twotower.evaluation.comparison.comparison_page import render_comparison
from tfrs_twotower.evaluation.comparison.comparison_tables import comparison_markdown
from tfrs_twotower.evaluation.written_documents import write_json


def test_means_and_deviations_are_those_over_seeds(runs, table):
    better = next(s for s in table.systems if (s.run, s.system) == ("better", "retrieval"))
    by_seed = [s.document.systems["retrieval"].metrics["recall@20"].mean for s in runs[1].seeds]
    assert better.metrics["recall@20"].as_json() == {
        "mean": pytest.approx(np.mean(by_seed)),
        "sd": pytest.approx(np.std(by_seed, ddof=1)),
        "by_seed": by_seed,
    }


def test_baselines_are_fitted_once_and_stand_after_the_runs(table):
    assert [(s.run, s.system, s.kind) for s in table.systems] == [
        ("base", "retrieval", "model"),
        ("better", "retrieval", "model"),
        ("better", "cascade", "model"),
        ("same", "retrieval", "model"),
        ("base", "ease", "baseline"),
        ("base", "popularity", "baseline"),
    ]
    ease = table.systems[4].metrics["recall@20"]
    assert (ease.sd, len(ease.by_seed)) == (None, 1)


def test_each_family_holds_its_pairs(table):
    def pairs(family):
        return [
            tuple(f"{side.run} {side.system}" for side in (entry.a, entry.b))
            for entry in getattr(table.tests, family)
            if entry.metric == METRICS[0]
        ]

    assert pairs("runs") == [
        ("better retrieval", "base retrieval"),
        ("better cascade", "base retrieval"),
        ("same retrieval", "base retrieval"),
    ]
    assert pairs("stages") == [("better cascade", "better retrieval")]
    assert pairs("baselines") == [
        (f"{name}", "base ease")
        for name in ("base retrieval", "better retrieval", "better cascade", "same retrieval")
    ]


def test_planted_differences_are_found_and_only_those(table):
    significant = {(entry.a.run, entry.metric): entry.significant for entry in table.tests.runs}
    assert significant == {
        ("better", "ndcg@10"): True, ("better", "recall@20"): True,
        ("same", "ndcg@10"): False, ("same", "recall@20"): False,
    }  # fmt: skip


def test_a_p_of_the_document_is_scipys(runs, table):
    entry = next(e for e in table.tests.runs if e.a.run == "better")
    a, b = (
        np.stack([seed.per_query.values["retrieval"][0] for seed in runs[place].seeds])
        for place in (1, 0)
    )
    queries = stats.ttest_rel(a.mean(axis=0), b.mean(axis=0)).pvalue
    seeds = stats.ttest_rel(a.mean(axis=1), b.mean(axis=1)).pvalue
    assert entry.over_queries.p == pytest.approx(queries)
    assert entry.over_seeds.p == pytest.approx(seeds)
    assert entry.both.p == pytest.approx(max(queries, seeds))


def test_other_data_is_another_table():
    document = compare_runs(
        [
            run_result("base", num_seeds=2),
            run_result("other", num_seeds=2, judged_on="two", baselines_of="other"),
        ]
    )
    assert [table.reference for table in document.tables] == ["base", "other"]
    assert all(not table.tests.runs for table in document.tables)
    assert comparison_markdown(document).count("### tiny") == 2


def test_seeds_of_one_run_on_different_data_are_refused():
    seeds = (seed_result(0, 0.0), seed_result(1, 0.0, judged_on="two"))
    mixed = replace(run_result("base"), seeds=seeds)
    with pytest.raises(ComparisonError, match="run base: its seeds were judged on different data"):
        compare_runs([mixed])


def test_the_document_is_strict_json_without_times_elsewhere(document, tmp_path):
    write_json(tmp_path / "comparison.json", document)
    again = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert again == document.as_json()
    assert set(again) == {
        "schema_version", "seeds", "tables", "runs", "environment", "timings",
    }  # fmt: skip
    assert again["timings"]["same"]["4"] == {"train": 5.5, "evaluate": 2.0}


def test_baselines_fitted_differently_say_for_which_run():
    other = run_result("other", 0.1, baselines_of="other")
    other.seeds[0].per_query.values["ease"][:] += 0.01
    document = compare_runs([run_result("base"), other])
    (table,) = document.tables
    fitted = [(s.run, s.system) for s in table.systems if s.kind == "baseline"]
    assert sorted(fitted) == [("base", "ease"), ("base", "popularity"), ("other", "ease")]
    assert "| other | EASE |" in comparison_markdown(document)
    against = {(entry.a.run, entry.b.run) for entry in table.tests.baselines}
    assert against == {("base", "base"), ("other", "other")}


def test_a_first_stage_that_two_runs_share_stands_once():
    document = compare_runs([run_result("base", cascade=0.02), run_result("other", cascade=0.03)])
    (table,) = document.tables
    models = [(s.run, s.system) for s in table.systems if s.kind == "model"]
    assert models == [("base", "retrieval"), ("base", "cascade"), ("other", "cascade")]
    assert {entry.a.system for entry in table.tests.runs} == {"cascade"}
    within = {(entry.a.run, entry.b.system) for entry in table.tests.stages}
    assert within == {("base", "retrieval"), ("other", "retrieval")}
    assert "| other, cascade | other, retrieval |" in comparison_markdown(document)
    assert "other, cascade" in render_comparison(document)


def test_a_run_that_changes_nothing_keeps_its_row():
    document = compare_runs([run_result("base"), run_result("other")])
    models = [s.run for s in document.tables[0].systems if s.kind == "model"]
    assert models == ["base", "other"]
