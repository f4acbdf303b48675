"""Judges the tables that a preprocessing job has read: refuses what must be mended, says the rest.

Causes come before consequences: a bad candidate makes its interactions unusable, so the tables of
candidates and queries are judged before that of interactions.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.stages import unmatched_ids
from pipelines.transforms import cell_forms, watched_cells
from pipelines.transforms.job_summary import JobSummary
from pipelines.transforms.reading import ReasonSummary
from pipelines.transforms.table_sources import Source
from tfrs_twotower.config import PreprocessConfig
from tfrs_twotower.config.stage_configs import FEW_BAD_RECORDS
from tfrs_twotower.errors import DataError
from tfrs_twotower.specs import FeatureSpec

_ORDER = ("candidates", "queries", "interactions")
_MOST = 0.5
"""Share of a column's cells, or of a table's records, from which on they speak for all."""
_SOME = 0.01
Forms = Mapping[tuple[str, str], ReasonSummary]
"""Number and first of the cells by column and form."""


def check_tables(
    spec: FeatureSpec,
    config: PreprocessConfig,
    summary: JobSummary,
    sources: Mapping[str, Source],
    staging: Path,
    kept: Path,
) -> None:
    """Refuses tables with too many bad records or cells, or with cells that would be misread.

    Args:
        spec: the feature spec.
        config: the limits.
        summary: the summary of the job.
        sources: the files of the tables.
        staging: where the job wrote.
        kept: where the quarantine will be after a failure, for messages.

    Raises:
        DataError: a table cannot be used; the message names the cause and what to do.
    """
    for table in _ORDER:
        if table not in sources:
            continue
        if not summary.count(f"read_{table}"):
            raise DataError(f"{table}: no record was found in {', '.join(sources[table].files)}.")
        refuse_misread_lists(table, forms_of(summary, table))
        where = f"All are in {kept}/{table}-*.jsonl"
        hint, bad = "", summary.num_bad(table)
        if table == "interactions" and not config.tolerates(bad, summary.count(f"read_{table}")):
            hint = unmatched_ids.about_candidates(spec, summary, sources, staging)
        _refuse_bad_records(config, summary, sources[table], f"{hint}{where}")
        _refuse_bad_cells(config, summary, sources[table], where)


def _refuse_bad_records(
    config: PreprocessConfig, summary: JobSummary, source: Source, advice: str
) -> None:
    table, forms = source.table, forms_of(summary, source.table)
    bad, read = summary.num_bad(table), summary.count(f"read_{table}")
    if config.tolerates(bad, read):
        return
    reasons = "; ".join(summary.reasons_in_words(source)[:3])
    limit = (
        ": none is usable"
        if bad <= config.max_bad_fraction * read
        else f"; the limit is {config.max_bad_fraction:.1%} (preprocess.max_bad_fraction) "
        f"or {FEW_BAD_RECORDS} records, at most a tenth"
    )
    of_columns = "".join(
        _column_advice(table, column, forms)
        for column in dict.fromkeys(column for column, _ in forms)
        if f"column '{column}'" in reasons
    )
    raise DataError(
        f"{table}: {bad:,} of {read:,} records are bad ({bad / read:.1%}){limit}. "
        f"Most common: {reasons}. {of_columns}{advice}; correct the table or the feature spec"
        + (", or raise the limit." if bad < read else ".")
    )


def _refuse_bad_cells(
    config: PreprocessConfig, summary: JobSummary, source: Source, where: str
) -> None:
    table, forms = source.table, forms_of(summary, source.table)
    columns = summary.bad_columns(table)
    for column, bad in sorted(columns.items(), key=lambda item: -item[1]):
        present = max(forms.get((column, watched_cells.PRESENT), (bad, []))[0], bad)
        if not config.tolerates(bad, present):
            reasons = "; ".join(summary.reasons_in_words(source, column)[:3])
            raise DataError(
                f"{table}: {bad:,} of {present:,} records are bad in one cell "
                f"({bad / present:.1%}): {reasons}; the limit is "
                f"{config.max_bad_fraction:.1%} (preprocess.max_bad_fraction) of a column. "
                f"{_column_advice(table, column, forms)}{where}; correct the column, or leave its "
                "feature out of the spec."
            )


def forms_of(summary: JobSummary, table: str) -> Forms:
    """The forms of a table's cells."""
    return {
        (column, form): seen for (of, column, form), seen in summary.forms.items() if of == table
    }


def refuse_misread_lists(table: str, forms: Forms) -> None:
    """Refuses columns of lists as text that would be read as one text, or split at a wrong place.

    Raises:
        DataError: at least half of a column's cells are lists in a format that the spec does not
            name.
    """
    for column, share, first in _shares(forms, watched_cells.IS_LIST):
        if share >= _MOST:
            raise DataError(
                f"{table}: column '{column}': {share:.0%} of the cells look like a list written as "
                f"text (found {first!r}), which would be read as plain text. "
                + _list_advice(column, forms)
            )


def questions(table: str, forms: Forms) -> Iterator[str]:
    """What to tell people about the cells of a table that are used as they are."""
    for column, share, first in _shares(forms, watched_cells.IS_LIST):
        if _SOME <= share < _MOST:
            yield (
                f"{table}: column '{column}': {share:.0%} of the cells look like a list written as "
                f"text (such as {first!r}) and are read as plain text. "
                + _list_advice(column, forms)
            )
    for column in dict.fromkeys(column for column, _ in forms):
        words = [
            form.removeprefix(watched_cells.WORD)
            for of, form in forms
            if of == column and form.startswith(watched_cells.WORD)
        ]
        number = sum(forms[column, f"{watched_cells.WORD}{word}"][0] for word in words)
        if words:
            yield (
                f"{table}: column '{column}': {counted(number, 'cell')} with "
                f"{', '.join(sorted(words))}, which is read as a value like any other. If it means "
                f"that there is none, set missing: {json.dumps(sorted(words))} under {table} of "
                "the feature spec."
            )
        yield from _other_separator(table, column, forms)


def counted(number: int, thing: str) -> str:
    """`1 cell` or `2 cells`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _other_separator(table: str, column: str, forms: Forms) -> Iterator[str]:
    if (column, watched_cells.OWN_SEPARATOR) in forms:
        return
    for separator in cell_forms.SEPARATORS:
        for of, share, first in _shares(forms, f"{watched_cells.SEPARATOR}{separator}"):
            if of == column and share >= _MOST:
                yield (
                    f"{table}: column '{column}': no cell holds the separator of the feature spec, "
                    f"but {share:.0%} hold {separator!r} (such as {first!r}). If it separates "
                    f"values, set separator: {separator!r} for the feature."
                )
                return


def _shares(forms: Forms, wanted: str) -> Iterator[tuple[str, float, str]]:
    """Column, share of its cells, and first cell, where cells have the wanted form."""
    for (column, form), (number, first) in forms.items():
        if form == wanted:
            present = max(forms.get((column, watched_cells.PRESENT), (number, []))[0], number)
            yield column, number / present, first[0][2]


def _commonest(column: str, forms: Forms, beginning: str) -> str:
    counts = {
        form.removeprefix(beginning): number
        for (of, form), (number, _) in forms.items()
        if of == column and form.startswith(beginning)
    }
    return max(counts, key=lambda name: counts[name], default="")


def _list_advice(column: str, forms: Forms) -> str:
    list_format = _commonest(column, forms, watched_cells.LIST)
    return (
        f"Give the column a feature of kind multi_categorical with format: {list_format} in the "
        "feature spec."
    )


def _column_advice(table: str, column: str, forms: Forms) -> str:
    """What to do about a column with bad cells, if their form shows it."""
    number_format = _commonest(column, forms, watched_cells.NUMBER)
    if number_format:
        example = forms[column, f"{watched_cells.NUMBER}{number_format}"][1][0][2]
        plain = cell_forms.plain_number(example, number_format)  # type: ignore[arg-type]
        do = (
            "write them so"
            if table == "interactions"
            else f"set format: {number_format} for the numeric feature"
        )
        return (
            f"Cells of '{column}' look like numbers with a decimal {number_format} ({example!r} is "
            f"{plain}): {do}. "
        )
    word = _commonest(column, forms, watched_cells.WORD)
    if word:
        return f"If {word!r} means that there is no value, set missing: [{word!r}] under {table}. "
    return ""
