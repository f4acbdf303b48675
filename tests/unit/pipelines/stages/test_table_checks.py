"""What people are told about the forms of cells, from counts by hand."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.stages.table_checks import check_tables, questions, refuse_misread_lists
from pipelines.transforms.job_summary import JobSummary
from tests.fixtures.tiny import tiny_spec
from tfrs_twotower.config import PreprocessConfig
from tfrs_twotower.errors import DataError


def forms(present=100, **counts):
    """Counts of the forms of one column, each with a first cell."""
    named = {form: (number, [(1, "key", cell)]) for form, (number, cell) in counts.items()}
    return {("x", "present"): (present, []), **{("x", form): one for form, one in named.items()}}


def lists(number):
    cell = (number, "['a', 'b']")
    return forms(**{"is list": cell, "list:python": cell, "list:json": (1, "[]")})


def test_half_a_column_of_lists_is_refused_and_less_is_said():
    message = r"candidates: column 'x': 50% of the cells look like a list .*with format: python"
    with pytest.raises(DataError, match=message):
        refuse_misread_lists("candidates", lists(50))
    refuse_misread_lists("candidates", lists(49))
    (said,) = questions("candidates", lists(49))
    assert "49% of the cells look like a list" in said
    assert list(questions("candidates", lists(0))) == []


def test_words_for_no_value_are_said():
    (words,) = questions("queries", forms(**{"word:nan": (3, "nan"), "word:NULL": (2, "NULL")}))
    assert words.startswith("queries: column 'x': 5 cells with NULL, nan, which is read as a value")
    assert 'set missing: ["NULL", "nan"] under queries' in words


def test_another_separator_is_said_only_where_the_own_one_is_absent():
    other = {"separator:;": (50, "a;b")}
    (said,) = questions("candidates", forms(**other))
    assert "but 50% hold ';' (such as 'a;b'). If it separates values, set separator: ';'" in said
    assert list(questions("candidates", forms(**other, separator=(1, "a|b")))) == []
    assert list(questions("candidates", forms(**{"separator:;": (49, "a;b")}))) == []


@pytest.mark.parametrize(
    ("bad", "total", "tolerated"),
    [
        (0, 0, True),
        (1, 1, False),  # nothing is usable
        (1, 2, True),
        (2, 10, False),
        (2, 20, True),
        (3, 20, False),
        (10, 100, True),
        (11, 100, False),
        (10, 900, True),
        (11, 900, False),
        (20, 2000, True),
        (21, 2000, False),
    ],
)
def test_how_many_are_few(bad, total, tolerated):
    assert PreprocessConfig().tolerates(bad, total) == tolerated


@pytest.mark.parametrize(("present", "refused"), [(30, False), (29, True)])
def test_bad_cells_are_a_share_of_those_that_have_a_value(present, refused):
    """The column is nearly empty: 3 bad cells are a tenth of its values, and few of the records."""
    first = [(2, "c1", "'x'")]
    summary = JobSummary(
        directory=Path(),
        counts={"read_candidates": 1000},
        reasons={("candidates", "price", "not a number"): (3, first)},
        forms={("candidates", "price", "present"): (present, [])},
        windows={},
        cutoffs=None,
        numeric={},
        written={},
    )
    source = SimpleNamespace(
        table="candidates", files=["c.csv"], describe=lambda position: f"c.csv:{position}"
    )

    def check():
        sources = {"candidates": source}
        check_tables(tiny_spec(), PreprocessConfig(), summary, sources, Path("new"), Path("kept"))

    if not refused:
        check()
        return
    message = (
        r"candidates: 3 of 29 records are bad in one cell \(10\.3%\): not a number \(found 'x'\)"
    )
    with pytest.raises(DataError, match=message):
        check()
