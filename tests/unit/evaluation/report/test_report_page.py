"""The report page, and the queries that it shows in words."""

import re
from dataclasses import replace

import numpy as np

from tests.unit.evaluation.world import CONFIG, make_world, without_history
from tfrs_twotower.evaluation.evaluated_data import LogLine
from tfrs_twotower.evaluation.evaluating import evaluate
from tfrs_twotower.evaluation.report.rendering import Origin
from tfrs_twotower.evaluation.report.report_page import make_example, render_page
from tfrs_twotower.index.quality import IndexQuality


def test_the_page_shows_both_stages(cascade, two_stages, evaluation, inputs):
    page = render_page(cascade, two_stages, CONFIG, 0)
    assert ">Pre-ranking</h2>" in page
    assert page.count("<h3>cascade returned</h3>") == 3
    assert page.count("<h3>retrieval returned</h3>") == 3
    assert page.count(">list softmax<") == 2
    assert page.count("</b> of 2</summary>") == 2
    assert "ndcg@10 on validation queries" in page
    assert "recall@12 of exact" in page
    assert "signal 0" in page
    alone = render_page(evaluation, inputs, CONFIG, 0)
    for absent in ("cascade returned", "Pre-ranking", "recall@12", "list softmax"):
        assert absent not in alone


def test_the_page_says_that_the_order_of_retrieval_was_kept(cascade, two_stages):
    kept = "so the order of retrieval is kept"
    assert kept not in render_page(cascade, two_stages, CONFIG, 0)
    document = cascade.document
    weights = {name: float(name == "retrieval") for name in document.funnel.pool.weights}
    pool = document.funnel.pool.model_copy(update={"weights": weights})
    funnel = document.funnel.model_copy(update={"pool": pool})
    alone = replace(cascade, document=document.model_copy(update={"funnel": funnel}))
    assert kept in render_page(alone, two_stages, CONFIG, 0)


def test_the_page_stands_alone_and_escapes(evaluation, inputs):
    quality = IndexQuality(
        kind="scann", k=10, overlap=0.99, target=0.98, num_queries=40, exact_p50_ms=1.0,
        sweep=[{"overlap": 0.9, "p50_ms": 0.1}, {"overlap": 0.99, "p50_ms": 0.3}],
    )  # fmt: skip
    log = [LogLine(step, {"loss": 1 / step}, {"recall@5": 0.1}) for step in (1, 2)]
    inputs = replace(inputs, index_quality=quality, training_log=log)
    page = render_page(evaluation, inputs, CONFIG, 0)
    assert "&lt;Title&gt;" in page
    assert "<Title>" not in page
    assert not re.search(r"(?:https?:)?//[a-z]|<script|<link|@import|url\((?!#)", page)
    assert page.count("<svg") == 5


def test_the_page_of_text_data_without_index_or_log():
    inputs = without_history(make_world(texts=True))
    evaluation = evaluate(inputs, CONFIG)
    assert {"bm25", "hybrid"} < set(evaluation.document.systems)
    assert "No index was built" in render_page(evaluation, inputs, CONFIG, 0)


def test_an_example_shows_titles_beside_the_history(inputs):
    query = inputs.test.ids.tolist().index("q03")
    ranked = np.tile(np.arange(4), (len(inputs.test.ids), 1))
    example = make_example(inputs, {"retrieval": ranked}, query, 4)
    assert len(example.history) == 4
    assert len(example.lists["retrieval"]) == 4
    assert example.history[0] == f"<Title> {inputs.log.candidate[3 * 9 + 6]}"


def test_no_word_about_the_model_stands_on_another_systems_row(cascade, two_stages):
    page = render_page(cascade, two_stages, CONFIG, 0)
    board = page[page.index('<table class="leaderboard"') : page.index("</table>")]
    rows = board.split("<tr ")[1:]
    assert len(rows) == len(cascade.document.systems)
    for row in rows:
        is_model = row.startswith('class="model"')
        assert is_model == bool(re.search("ahead|behind|level with", row)), row


def test_the_page_says_what_made_it_and_leads_to_every_section(cascade, two_stages):
    origin = Origin("twotower run a.yaml", {"feature spec": "<spec>.yaml"}, 1_795_693_509.0)
    page = render_page(cascade, two_stages, CONFIG, 0, origin)
    assert page.count("2026-11-26 11:45 UTC") == 2
    assert "<code>twotower run a.yaml</code>" in page
    assert "<code>&lt;spec&gt;.yaml</code>" in page
    headings = re.findall('<h2 id="([^"]+)"', page)
    assert re.findall('<a href="#([^"]+)"', page) == headings
    assert page.count("<h2") == len(headings)
    assert "UTC" not in render_page(cascade, two_stages, CONFIG, 0)
