"""The tables of a comparison as rows, Markdown and page."""

import re

from tests.unit.evaluation.comparison.planted_runs import METRICS, planted, run_result
from tfrs_twotower.evaluation.comparison.comparing_runs import compare_runs
from tfrs_twotower.evaluation.comparison.comparison_page import render_comparison
from tfrs_twotower.evaluation.comparison.comparison_tables import (
    best_first,
    comparison_markdown,
    comparison_rows,
)


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
