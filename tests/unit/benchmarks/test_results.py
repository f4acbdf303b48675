import pytest

from tests.benchmarks.results import RESULTS, TABLES, insert


def test_a_table_goes_between_its_markers_only():
    text = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\n<!-- y: begin -->\n<!-- y: end -->\n"
    assert insert(text, "x", " new \n") == (
        "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\n<!-- y: begin -->\n<!-- y: end -->\n"
    )


@pytest.mark.parametrize("text", ["", "<!-- x: end --> <!-- x: begin -->", "<!-- x: begin -->"])
def test_markers_that_are_not_there_are_named(text):
    with pytest.raises(ValueError, match="expected one <!-- x: begin --> followed by one"):
        insert(text, "x", "new")


def test_every_table_has_its_place():
    text = RESULTS.read_text(encoding="utf-8")
    for table in TABLES:
        insert(text, table.name, "")
