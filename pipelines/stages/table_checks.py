"""Judges the tables that a preprocessing job has read: refuses what must be mended, says the rest.

Causes come before consequences: a bad candidate makes its interactions unusable, so the tables of
candidates and queries are judged before that of interactions.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.transforms import cell_forms, table_files, watched_cells
from pipelines.transforms.cells import BadCell, as_id
from pipelines.transforms.corpus import BAD_CANDIDATE, UNKNOWN_CANDIDATE
from pipelines.transforms.job_summary import JobSummary
from pipelines.transforms.reading import ReasonSummary
from pipelines.transforms.table_sources import Source
from tfrs_twotower.artifacts.layout import QUARANTINE
from tfrs_twotower.config import PreprocessConfig
from tfrs_twotower.config.stage_configs import FEW_BAD_RECORDS
from tfrs_twotower.errors import DataError
from tfrs_twotower.specs import FeatureSpec

_ORDER = ("candidates", "queries", "interactions")
_MOST = 0.5
"""Share of a column's cells, or of a table's records, from which on they speak for all."""
_SOME = 0.01
_MAX_UNKNOWN = 1000
_MAX_KNOWN = 1_000_000
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
        source, read = sources[table], summary.count(f"read_{table}")
        if not read:
            raise DataError(f"{table}: no record was found in {', '.join(source.files)}.")
        forms = forms_of(summary, table)
        refuse_misread_lists(table, forms)
        where = f"All are in {kept}/{table}-*.jsonl"
        bad = summary.num_bad(table)
        if not config.tolerates(bad, read):
            reasons = "; ".join(summary.reasons_in_words(source)[:3])
            hint = ""
            if table == "interactions":
                hint = _unknown_candidates(spec, sources, staging)
                bad_candidates = summary.reasons_in_words(sources["candidates"])
                if BAD_CANDIDATE in reasons and bad_candidates:
                    hint += f"Of the candidates: {bad_candidates[0]}. "
            for column in dict.fromkeys(column for column, _ in forms):
                hint += _advice(table, column, forms) if f"column '{column}'" in reasons else ""
            limit = (
                ": none is usable"
                if bad <= config.max_bad_fraction * read
                else f"; the limit is {config.max_bad_fraction:.1%} (preprocess.max_bad_fraction) "
                f"or {FEW_BAD_RECORDS} records, at most a tenth"
            )
            raise DataError(
                f"{table}: {bad:,} of {read:,} records are bad ({bad / read:.1%}){limit}. "
                f"Most common: {reasons}. {hint}{where}; correct the table or the feature spec"
                + (", or raise the limit." if bad < read else ".")
            )
        for column, number in sorted(summary.bad_columns(table).items(), key=lambda item: -item[1]):
            present = max(forms.get((column, watched_cells.PRESENT), (read, []))[0], number)
            if not config.tolerates(number, present):
                reasons = "; ".join(summary.reasons_in_words(source, column)[:3])
                raise DataError(
                    f"{table}: {number:,} of {present:,} records are bad in one cell "
                    f"({number / present:.1%}): {reasons}; the limit is "
                    f"{config.max_bad_fraction:.1%} (preprocess.max_bad_fraction) of a column. "
                    f"{_advice(table, column, forms)}{where}; correct the column, or leave its "
                    "feature out of the spec."
                )
    queries_without_record(spec, summary, sources)


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
                f"{table}: column '{column}': {number:,} cells hold {', '.join(sorted(words))}, "
                "which is read as a value like any other. If it means that there is none, set "
                f"missing: {json.dumps(sorted(words))} under {table} in the feature spec."
            )
        blanks = forms.get((column, watched_cells.BLANKS))
        if blanks:
            yield (
                f"{table}: column '{column}': {blanks[0]:,} ids had blanks around them, which were "
                f"removed (such as {blanks[1][0][2]!r})."
            )
        yield from _other_separator(table, column, forms)


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


def _advice(table: str, column: str, forms: Forms) -> str:
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


def _unknown_candidates(spec: FeatureSpec, sources: Mapping[str, Source], staging: Path) -> str:
    """Says how the two tables write one id, if ids of unknown candidates differ only in form."""
    unknown: dict[str, None] = {}
    for path in sorted((staging / QUARANTINE).glob("interactions-*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if record["reason"] == UNKNOWN_CANDIDATE and len(unknown) < _MAX_UNKNOWN:
                    unknown[record["key"]] = None
    return _written_otherwise(list(unknown), sources["candidates"], spec.candidates.id)


def queries_without_record(
    spec: FeatureSpec, summary: JobSummary, sources: Mapping[str, Source]
) -> str:
    """What to tell people about interactions whose query has no record; "" if all have one.

    Raises:
        DataError: these are most interactions, because the tables write ids in different ways.
    """
    form = ("interactions", spec.interactions.query_id, watched_cells.NO_RECORD)
    number, first = summary.forms.get(form, (0, []))
    if spec.queries is None or not number:
        return ""
    total = sum(summary.events().values())
    said = (
        f"interactions: {number:,} of {total:,} have a query without a record in queries, so its "
        "features are missing. "
    )
    hint = _written_otherwise([key for _, key, _ in first], sources["queries"], spec.queries.id)
    if hint and number >= _MOST * total:
        raise DataError(f"{said}{hint}Correct one of the tables.")
    return (said + hint).strip()


def _written_otherwise(unknown: list[str], source: Source, column: str) -> str:
    """`'2.0' in interactions is '2' in candidates`, for the first id that both tables have."""
    plain = {cell_forms.plain_id(key): key for key in reversed(unknown)}
    for cell in itertools.islice(_ids(source, column), _MAX_KNOWN):
        other = plain.get(cell_forms.plain_id(cell))
        if other is not None and other != cell:
            return (
                f"{other!r} in interactions is {cell!r} in {source.table}: an id must be written "
                "alike in both (pandas turns whole numbers into decimals where a value is missing, "
                "and drops leading zeros unless it reads them as text). If ids are whole numbers, "
                f"set whole_number_ids: true under {source.table}. "
            )
    return ""


def _ids(source: Source, column: str) -> Iterator[str]:
    for path in source.files:
        for _, cells, _ in table_files.read_table_file(path, source.file_format, (column,)):
            try:
                yield as_id(None if cells is None else cells[0])
            except BadCell:
                continue
