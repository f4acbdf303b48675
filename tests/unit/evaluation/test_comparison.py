"""The document of a comparison, its Markdown and its page, on planted runs."""

import json
import re

import numpy as np
import pytest
from scipy import stats

from tests.fixtures.tiny import tiny_run_config
from tests.unit.evaluation.comparisons import METRICS, run_result
from tfrs_twotower.errors import ComparisonError
from tfrs_twotower.evaluation.comparison_document import compare_runs
from tfrs_twotower.evaluation.comparison_markdown import comparison_markdown, decimal, probability
from tfrs_twotower.evaluation.comparison_page import render_comparison
from tfrs_twotower.evaluation.comparison_rows import best_first, comparison_rows
from tfrs_twotower.evaluation.config_changes import config_changes
from tfrs_twotower.evaluation.strict_json import write_json


def planted(num_seeds=5):
    """`better` gains a tenth and has a cascade, `same` gains nothing."""
    return [
        run_result("base", num_seeds=num_seeds),
        run_result("better", 0.1, cascade=0.05, num_seeds=num_seeds, label="<better>"),
        run_result("same", 0.0, num_seeds=num_seeds),
    ]


@pytest.fixture(scope="module")
def runs():
    return planted()


@pytest.fixture(scope="module")
def document(runs):
    return compare_runs(runs)


@pytest.fixture(scope="module")
def table(document):
    (table,) = document["tables"]
    return table


def test_means_and_deviations_are_those_over_seeds(runs, table):
    found = next(s for s in table["systems"] if (s["run"], s["system"]) == ("better", "retrieval"))
    by_seed = [s.document["systems"]["retrieval"]["metrics"]["recall@20"] for s in runs[1].seeds]
    by_seed = [figure["mean"] for figure in by_seed]
    assert found["metrics"]["recall@20"] == {
        "mean": pytest.approx(np.mean(by_seed)),
        "sd": pytest.approx(np.std(by_seed, ddof=1)),
        "by_seed": by_seed,
    }


def test_baselines_are_fitted_once_and_stand_after_the_runs(table):
    assert [(s["run"], s["system"], s["kind"]) for s in table["systems"]] == [
        ("base", "retrieval", "model"),
        ("better", "retrieval", "model"),
        ("better", "cascade", "model"),
        ("same", "retrieval", "model"),
        ("base", "ease", "baseline"),
        ("base", "popularity", "baseline"),
    ]
    ease = table["systems"][4]["metrics"]["recall@20"]
    assert (ease["sd"], len(ease["by_seed"])) == (None, 1)


def test_each_family_holds_its_pairs(table):
    def pairs(family):
        return [
            tuple(f"{entry[side]['run']} {entry[side]['system']}" for side in "ab")
            for entry in table["tests"][family]
            if entry["metric"] == METRICS[0]
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
    significant = {
        (entry["a"]["run"], entry["metric"]): entry["significant"]
        for entry in table["tests"]["runs"]
    }
    assert significant == {
        ("better", "ndcg@10"): True, ("better", "recall@20"): True,
        ("same", "ndcg@10"): False, ("same", "recall@20"): False,
    }  # fmt: skip


def test_a_p_of_the_document_is_scipys(runs, table):
    entry = next(e for e in table["tests"]["runs"] if e["a"]["run"] == "better")
    a, b = (
        np.stack([seed.per_query.values["retrieval"][0] for seed in runs[place].seeds])
        for place in (1, 0)
    )
    queries = stats.ttest_rel(a.mean(axis=0), b.mean(axis=0)).pvalue
    seeds = stats.ttest_rel(a.mean(axis=1), b.mean(axis=1)).pvalue
    assert entry["over_queries"]["p"] == pytest.approx(queries)
    assert entry["over_seeds"]["p"] == pytest.approx(seeds)
    assert entry["both"]["p"] == pytest.approx(max(queries, seeds))


def test_other_data_is_another_table():
    document = compare_runs(
        [
            run_result("base", num_seeds=2),
            run_result("other", num_seeds=2, judged_on="two", baselines_of="other"),
        ]
    )
    assert [table["reference"] for table in document["tables"]] == ["base", "other"]
    assert all(not table["tests"]["runs"] for table in document["tables"])
    assert comparison_markdown(document).count("### tiny") == 2


def test_seeds_of_one_run_on_different_data_are_refused():
    mixed = run_result("base", num_seeds=2)
    mixed.seeds[1].document["protocol"]["judged_on"] = "two"
    with pytest.raises(ComparisonError, match="run base: its seeds were judged on different data"):
        compare_runs([mixed])


def test_the_document_is_strict_json_without_times_elsewhere(document, tmp_path):
    write_json(tmp_path / "comparison.json", document)
    again = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert again == document
    assert set(document) == {
        "schema_version", "seeds", "tables", "runs", "environment", "timings",
    }  # fmt: skip
    assert document["timings"]["same"]["4"] == {"train": 5.5, "evaluate": 2.0}


def test_one_seed_has_no_verdicts():
    document = compare_runs(planted(num_seeds=1))
    text = comparison_markdown(document)
    assert "One seed: it says nothing about the noise of training" in text
    assert "**" not in text
    assert "nothing is tested" in render_comparison(document)


def test_markdown_by_hand(document):
    lines = comparison_markdown(document).splitlines()
    assert lines[0] == "### tiny"
    assert "80 test queries, 1,234 candidates ranked." in lines[2]
    assert "p: against base" in lines[2]
    header = lines.index("| run | system | ndcg@10 | p | recall@20 | p |")
    assert lines[header + 1] == "| --- | --- | ---: | ---: | ---: | ---: |"
    better = lines[header + 3]
    assert re.fullmatch(
        r"\| <better> \| retrieval \|( \.\d{4} \(\.\d{4}\) \| \*\*<\.001\*\* \|){2}", better
    )
    baseline = next(line for line in lines if line.startswith("|  | EASE"))
    assert re.fullmatch(r"\|  \| EASE \| \.\d{4} \|  \| \.\d{4} \|  \|", baseline)
    assert "#### Within a run, against retrieval" in lines


def test_figures_as_people_write_them():
    assert [decimal(value) for value in (0.593, -0.012, 1.0, None)] == [
        ".5930", "-.0120", "1.0000", "",
    ]  # fmt: skip
    assert [probability(p) for p in (0.0312, 0.0002, 1.0, None)] == [".031", "<.001", "1.000", ""]


def test_rows_best_first_and_marks(table):
    rows = best_first(comparison_rows(table))
    assert (rows[0].run, rows[0].system) == ("better", "cascade")
    marks = {row.run: row.marks for row in rows if row.system == "retrieval"}
    assert marks["better"] == dict.fromkeys(METRICS, "+")
    assert marks["same"] == dict.fromkeys(METRICS, "=")
    assert marks["base"] == {}


def test_the_page_stands_alone_and_escapes(document):
    page = render_comparison(document)
    assert "&lt;better&gt;" in page
    assert "<better>" not in page
    assert not re.search(r"(?:https?:)?//[a-z]|<script|<link|@import|url\((?!#)", page)
    assert page.count("<svg") == 1
    assert "5 seeds each" in re.sub(r"</?b>", "", page)
    assert "a significant difference (p &lt;.001 after Holm)" in page


def test_the_headline_of_a_reference_that_leads():
    page = render_comparison(compare_runs([run_result("base", 0.1), run_result("worse")]))
    assert "1 of 1 other runs significantly worse." in page
    few = compare_runs([run_result("base", num_seeds=2), run_result("same", num_seeds=2)])
    assert "none of 1 other runs significantly worse." in render_comparison(few)


def test_baselines_fitted_differently_say_for_which_run():
    other = run_result("other", 0.1, baselines_of="other")
    other.seeds[0].per_query.values["ease"][:] += 0.01
    document = compare_runs([run_result("base"), other])
    (table,) = document["tables"]
    fitted = [(s["run"], s["system"]) for s in table["systems"] if s["kind"] == "baseline"]
    assert sorted(fitted) == [("base", "ease"), ("base", "popularity"), ("other", "ease")]
    assert "| other | EASE |" in comparison_markdown(document)
    against = {(entry["a"]["run"], entry["b"]["run"]) for entry in table["tests"]["baselines"]}
    assert against == {("base", "base"), ("other", "other")}


def test_changed_settings_by_key():
    base = tiny_run_config()
    training = base.training.model_dump(exclude_unset=True)
    other = tiny_run_config(training={**training, "batch_size": 32, "terms": {"mimic": {}}}, seed=3)
    assert config_changes(base, other) == {
        "training.batch_size": {"from": 64, "to": 32},
        "training.terms.mimic": {
            "from": None,
            "to": {"query_weight": 0.5, "candidate_weight": 0.5},
        },
    }
    assert config_changes(base, base) == {}


def test_another_kind_of_tower_is_not_a_change_of_every_default():
    changed = config_changes(tiny_run_config(), tiny_run_config(model={"kind": "dat"}))
    assert changed["model.kind"] == {"from": "plain", "to": "dat"}
    assert not any("augmentation" in key for key in changed)


def test_a_stated_default_is_no_change():
    training = tiny_run_config().training.model_dump(exclude_unset=True)
    assert (
        config_changes(tiny_run_config(), tiny_run_config(training={**training, "refit": False}))
        == {}
    )


def test_members_of_a_pre_ranker_are_compared_one_by_one():
    def config(*models):
        return tiny_run_config(pre_ranking={"models": list(models)})

    small, gated = {"kind": "inttower"}, {"kind": "inttower", "field_gate": "se"}
    assert config_changes(config(small, small), config(gated, small)) == {
        "pre_ranking.models.0.field_gate": {"from": "light_se", "to": "se"}
    }
    fewer = config_changes(config(small, small), config(small))
    assert list(fewer) == ["pre_ranking.models.1"]
    assert list(fewer["pre_ranking.models.1"]) == ["from"]
    none = config_changes(config(small), config())
    assert list(none) == ["pre_ranking.models.0"]


def test_a_first_stage_that_two_runs_share_stands_once():
    document = compare_runs([run_result("base", cascade=0.02), run_result("other", cascade=0.03)])
    (table,) = document["tables"]
    models = [(s["run"], s["system"]) for s in table["systems"] if s["kind"] == "model"]
    assert models == [("base", "retrieval"), ("base", "cascade"), ("other", "cascade")]
    assert {entry["a"]["system"] for entry in table["tests"]["runs"]} == {"cascade"}
    within = {(entry["a"]["run"], entry["b"]["system"]) for entry in table["tests"]["stages"]}
    assert within == {("base", "retrieval"), ("other", "retrieval")}
    assert "| other, cascade | other, retrieval |" in comparison_markdown(document)
    assert "other, cascade" in render_comparison(document)


def test_a_run_that_changes_nothing_keeps_its_row():
    document = compare_runs([run_result("base"), run_result("other")])
    models = [s["run"] for s in document["tables"][0]["systems"] if s["kind"] == "model"]
    assert models == ["base", "other"]
