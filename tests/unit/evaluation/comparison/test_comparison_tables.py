"""What run configs change, and the tables of a comparison as rows, Markdown and page."""

import re

from tests.fixtures.tiny import tiny_run_config
from tests.unit.evaluation.comparison.planted_runs import METRICS, planted, run_result
from tfrs_twotower.evaluation.comparison.comparing_runs import compare_runs
from tfrs_twotower.evaluation.comparison.comparison_page import render_comparison
from tfrs_twotower.evaluation.comparison.comparison_tables import (
    best_first,
    comparison_markdown,
    comparison_rows,
)
from tfrs_twotower.evaluation.comparison.config_changes import config_changes


def changes_of(first, other):
    return {key: change.as_json() for key, change in config_changes(first, other).items()}


def test_changed_settings_by_key():
    base = tiny_run_config()
    training = base.training.model_dump(exclude_unset=True)
    other = tiny_run_config(training={**training, "batch_size": 32, "terms": {"mimic": {}}}, seed=3)
    assert changes_of(base, other) == {
        "training.batch_size": {"from": 64, "to": 32},
        "training.terms.mimic": {
            "from": None,
            "to": {"query_weight": 0.5, "candidate_weight": 0.5},
        },
    }
    assert changes_of(base, base) == {}


def test_another_kind_of_tower_is_not_a_change_of_every_default():
    changed = changes_of(tiny_run_config(), tiny_run_config(model={"kind": "dat"}))
    assert changed["model.kind"] == {"from": "plain", "to": "dat"}
    assert not any("augmentation" in key for key in changed)


def test_a_stated_default_is_no_change():
    training = tiny_run_config().training.model_dump(exclude_unset=True)
    assert (
        changes_of(tiny_run_config(), tiny_run_config(training={**training, "refit": False})) == {}
    )


def test_members_of_a_pre_ranker_are_compared_one_by_one():
    def config(*models):
        return tiny_run_config(pre_ranking={"models": list(models)})

    small, gated = {"kind": "inttower"}, {"kind": "inttower", "field_gate": "se"}
    assert changes_of(config(small, small), config(gated, small)) == {
        "pre_ranking.models.0.field_gate": {"from": "light_se", "to": "se"}
    }
    fewer = changes_of(config(small, small), config(small))
    assert list(fewer) == ["pre_ranking.models.1"]
    assert list(fewer["pre_ranking.models.1"]) == ["from"]
    none = changes_of(config(small), config())
    assert list(none) == ["pre_ranking.models.0"]


def test_a_spec_is_named_by_its_file():
    changes = changes_of(tiny_run_config(spec="a/one.yaml"), tiny_run_config(spec="b/two.yaml"))
    assert changes == {"spec": {"from": "one.yaml", "to": "two.yaml"}}


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


def test_rows_best_first_and_standings(table):
    rows = best_first(comparison_rows(table))
    assert (rows[0].run, rows[0].system) == ("better", "cascade")
    standings = {row.run: row.standings for row in rows if row.system == "retrieval"}
    assert standings["better"] == dict.fromkeys(METRICS, "ahead")
    assert standings["same"] == dict.fromkeys(METRICS, "level")
    assert standings["base"] == {}


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


def test_the_headline_names_a_baseline_that_is_highest():
    behind = compare_runs([run_result("base", -0.1), run_result("other", -0.12)])
    page = render_comparison(behind)
    assert re.search(
        r"EASE, a baseline, has the highest recall@20, \.\d{4}; the best run, base \(retrieval\), "
        r"has \.\d{4} ± \.\d{4} over 5 seeds, a significant difference \(p &lt;\.001 after Holm\)",
        page,
    )
    assert "base (retrieval) has the highest" not in page
    assert "base (retrieval): behind EASE." in page
    assert "What to try next" in page


def test_a_verdict_on_every_run(document, table):
    assert set(table.verdicts) == {"base", "better", "same"}
    assert table.verdicts["better"].system == "cascade"
    every_metric = dict.fromkeys(METRICS, "ahead")
    assert table.verdicts["better"].against == {"ease": every_metric}
    assert "- <better> (cascade): ahead of EASE." in comparison_markdown(document)
    one_seed = compare_runs(planted(num_seeds=1)).tables[0].verdicts["better"]
    assert one_seed.standing == "untested"
    assert one_seed.against == {"ease": dict.fromkeys(METRICS, "untested")}
