"""Finds out how a delimited text file is written: delimiter, header, decimal comma, encoding.

What the spec declares is taken; the rest is seen in the first lines. A finding that differs from
the default of the file's suffix is kept as the option that says it, so that it can be stated.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tfrs_twotower.tables import text_forms
from tfrs_twotower.tables.decimals import writes_decimal_commas
from tfrs_twotower.tables.encodings import Head, find_encoding

_DELIMITERS = (",", ";", "\t", "|", "::", text_forms.BLANKS)
_HEAD_ROWS = 1000
_LEAST_SHARE = 0.9
_FEWEST_BLANK_SEPARATED = 3
_TIME = re.compile(r"([6-9]\d{8}|[1-4]\d{9})(\d{3}|\d{6})?")
_TREC = ("query_id", "iteration", "candidate_id", "relevance")
_EVENT = ("query_id", "candidate_id", "rating")
_VALUE = re.compile(r"[+-]?\d[\d.,:TZ+ -]*")
_EXCEL = re.compile(r"""(?i)"?sep=([^\w"'\r\n])"?[\r\n]*$""")
_LINE = re.compile("[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$")  # as universal line ends cut them


def find_form(
    head: Head, default_delimiter: str, declared: text_forms.Declared
) -> text_forms.TextForm:
    """Finds the form of a delimited file.

    Args:
        head: its first bytes.
        default_delimiter: that of the file's suffix; files with tabs may be without quoting.
        declared: what the spec says.

    Raises:
        MalformedTable: the file is no text, or a column stands twice in the header.
    """
    encoding = find_encoding(head, declared.encoding, header=declared.columns is None)
    text = head.text(encoding.name)
    lines = _LINE.findall(text)
    whole = head.complete or len(lines) < 2
    lines = (lines if whole else lines[:-1])[:_HEAD_ROWS]
    named = _EXCEL.match(lines[0]) if lines else None
    lines = lines[named is not None :]
    shown = default_delimiter if named is None else named[1]
    form = text_forms.TextForm(
        encoding,
        shown if declared.delimiter is None else declared.delimiter,
        declared.columns or (),
        has_header=declared.columns is None,
        quote=declared.quote or '"',
        quoting="none" if declared.quote == "" else None,
        quote_is_declared=declared.quote is not None,
        may_be_unquoted=default_delimiter == "\t" and declared.quote is None,
        decimal=declared.decimal or ".",
        names_delimiter=named is not None,
    )
    if declared.delimiter is None and named is None:
        form = _with_delimiter(form, lines)
    form = replace(form, blank_after=_blank_after(form, lines))
    if form.has_header:
        form = replace(form, columns=_header(form, lines))
        form = replace(form, invented=_invented(_plain_rows(form, lines)))
        if not form.invented:
            text_forms.check_names(form.columns)
    form = text_forms.settle_quoting(form, lines, complete=whole)
    options: dict[str, Any] = {}
    if encoding.name not in ("utf-8", "utf-8-sig", declared.encoding):
        options["encoding"] = encoding.name
    if form.delimiter not in (default_delimiter, declared.delimiter):
        options["delimiter"] = form.delimiter
    if form.may_be_unquoted and form.quoting not in (None, "none"):
        options["quote"] = form.quote
    # Between commas, `"5,5"` may as well be thousands or a list: its column says what it is.
    may_be_comma = form.delimiter != "," and declared.decimal is None
    if may_be_comma and writes_decimal_commas(
        [
            row
            for row in _plain_rows(form, lines)[form.has_header :]
            if len(row) == len(form.columns)
        ]
    ):
        form = replace(form, decimal=",")
        options["decimal"] = ","
    return replace(form, options=options)


def _plain_rows(form: text_forms.TextForm, lines: Sequence[str]) -> list[list[str]]:
    rows = text_forms.rows_of(lines, form, form.quoting, strict=False)
    width = len(form.columns)
    return [row for row in _without_errors(rows) if not text_forms.is_blank(row, width)]


def _without_errors(rows: Any) -> Iterator[list[str]]:
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error:
            continue


def _with_delimiter(form: text_forms.TextForm, lines: Sequence[str]) -> text_forms.TextForm:
    """Keeps the default delimiter unless another one gives the header columns and fits better."""
    expected = len(form.columns)

    def fit(delimiter: str) -> tuple[float, int]:
        candidate = replace(form, delimiter=delimiter)
        best = (0.0, 0)
        for quoting in (None, "none") if form.quoting is None else (form.quoting,):
            rows = _plain_rows(replace(candidate, quoting=quoting), lines)
            width = expected or (len(rows[0]) if rows else 0)
            share = sum(len(row) == width for row in rows) / len(rows) if rows else 0.0
            best = max(best, (share, width))
        return best

    default_share, default_width = fit(form.delimiter)
    if default_width < 2:
        default_share = 0.0
    fits: list[tuple[int, str]] = []
    for delimiter in _DELIMITERS:
        share, width = fit(delimiter)
        if delimiter == text_forms.BLANKS:  # which prose has as well
            alone = not fits and not default_share
            taken = alone and share == 1.0 and width >= _FEWEST_BLANK_SEPARATED
        else:
            taken = share > default_share and share >= _LEAST_SHARE and width > 1
        fits += [(width, delimiter)] if taken else []
    return replace(form, delimiter=max(fits)[1]) if fits else form


def _blank_after(form: text_forms.TextForm, lines: Sequence[str]) -> bool:
    if len(form.delimiter) > 1 or form.delimiter in (text_forms.BLANKS, "\t"):
        return False
    first = [line for line in lines if line.strip()][:2]
    return bool(first) and all(
        0 < line.count(form.delimiter) == line.count(f"{form.delimiter} ") for line in first
    )


def _header(form: text_forms.TextForm, lines: Sequence[str]) -> tuple[str, ...]:
    """The names in the first record that is not blank, without blanks around them."""
    rows = _plain_rows(form, lines)
    names = [name.strip() for name in rows[0]] if rows else []
    if form.quoting is None and form.may_be_unquoted and lines:
        settled = text_forms.settle_quoting(
            replace(form, columns=tuple(names)), lines, complete=False
        )
        if settled.quoting == "none":
            names = [name.strip() for name in _plain_rows(settled, lines)[0]]
    return tuple(names)


def _invented(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Names for the columns of a file whose first record is like the others; () if it is not.

    It is if each column of numbers and times begins with one, and there is such a column.
    """
    first, rest = [*rows[:1], []][0], [row for row in rows[1:] if len(row) == len(rows[0])]
    if not rest:
        return ()
    columns = [[cell.strip() for cell in column] for column in zip(*rest, strict=True)]
    like_numbers = [_share(column, _VALUE) >= _LEAST_SHARE for column in columns]
    begins = [_VALUE.fullmatch(name.strip()) is not None for name in first]
    if not any(like_numbers) or any(
        numbers and not begun for numbers, begun in zip(like_numbers, begins, strict=True)
    ):
        return ()
    if len(first) == len(_TREC) and all(row[1] in ("0", "Q0") for row in rest):
        return _TREC
    times = [_share(column, _TIME) >= _LEAST_SHARE for column in columns]
    if sum(times) != 1 or not len(_EVENT) <= len(first) <= len(_EVENT) + 1:
        return ("id", *(f"column_{number}" for number in range(2, len(first) + 1)))
    names = iter(_EVENT)
    return tuple("timestamp" if is_time else next(names) for is_time in times)


def _share(cells: Sequence[str], pattern: re.Pattern[str]) -> float:
    return sum(pattern.fullmatch(cell) is not None for cell in cells) / len(cells)
