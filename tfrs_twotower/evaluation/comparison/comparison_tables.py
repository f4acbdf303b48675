"""The tables of a comparison as rows and as Markdown."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tfrs_twotower.evaluation.comparison import comparison_document
from tfrs_twotower.evaluation.evaluation_document import Standing
from tfrs_twotower.evaluation.report.rendering import decimal, in_words, probability
from tfrs_twotower.evaluation.systems import label
from tfrs_twotower.evaluation.verdict import against_each, standing_of

_SECTIONS = {
    "runs": "Further runs against {reference}",
    "stages": "Within a run, against retrieval",
    "baselines": "Against the leading baselines",
}
_FEW_SEEDS = 5


@dataclass(frozen=True)
class ComparisonRow:
    """One system of one run.

    Attributes:
        run: name of the run.
        label: the run's name in tables; empty for baselines, unless several runs fitted them
            differently.
        system: name of the system.
        is_model: False for a baseline.
        is_reference: whether the other runs are tested against this run.
        figures: mean, deviation and values by seed of each key metric.
        tests: of each key metric, the test against the reference; empty for the reference itself
            and for baselines.
        best: the key metrics in which no system has a higher mean.
    """

    run: str
    label: str
    system: str
    is_model: bool
    is_reference: bool
    figures: dict[str, comparison_document.SeedFigure]
    tests: dict[str, comparison_document.SeedTest]
    best: frozenset[str]

    @property
    def standings(self) -> dict[str, Standing]:
        """Against the reference, by key metric; `untested` for one seed."""
        return {
            metric: "untested"
            if test.both.p_holm is None
            else standing_of(test.difference, significant=test.significant)
            for metric, test in self.tests.items()
        }


@dataclass(frozen=True)
class ComparedPair:
    """Two systems in words, and the test of each key metric."""

    a: str
    b: str
    tests: dict[str, comparison_document.SeedTest]


def comparison_rows(table: comparison_document.ComparisonTable) -> list[ComparisonRow]:
    """Rows of one table: the runs in their given order, then the baselines, best first."""
    metrics = table.metrics
    tests: dict[tuple[str, str], dict[str, comparison_document.SeedTest]] = {}
    for test in table.tests.runs:
        tests.setdefault((test.a.run, test.a.system), {})[test.metric] = test
    shared_baselines = len(fitted_by(table)) < 2
    highest = {
        metric: max(system.metrics[metric].mean for system in table.systems) for metric in metrics
    }
    return [
        ComparisonRow(
            run=system.run,
            label="" if system.kind == "baseline" and shared_baselines else system.label,
            system=system.system,
            is_model=system.kind == "model",
            is_reference=system.kind == "model" and system.run == table.reference,
            figures={metric: system.metrics[metric] for metric in metrics},
            tests=tests.get((system.run, system.system), {}),
            best=frozenset(
                metric for metric in metrics if system.metrics[metric].mean == highest[metric]
            ),
        )
        for system in table.systems
    ]


def label_of(table: comparison_document.ComparisonTable, run: str) -> str:
    """The name of a run in tables."""
    return next(system.label for system in table.systems if system.run == run)


def verdict_lines(table: comparison_document.ComparisonTable) -> list[str]:
    """For each run a sentence on how it stands against the leading baselines."""
    return [
        against_each(verdict, f"{label_of(table, run)} ({label(verdict.system)})")
        for run, verdict in table.verdicts.items()
    ]


def advice(table: comparison_document.ComparisonTable) -> list[str]:
    """What to try next with any run of the table, each thing once."""
    return list(dict.fromkeys(step for one in table.verdicts.values() for step in one.advice))


def fitted_by(table: comparison_document.ComparisonTable) -> set[str]:
    """Names of the runs that fitted the table's baselines."""
    return {system.run for system in table.systems if system.kind == "baseline"}


def best_first(rows: list[ComparisonRow]) -> list[ComparisonRow]:
    """Sorts rows by the sum of the key metrics' means, as the leaderboard of one run does."""
    return sorted(rows, key=lambda row: -sum(figure.mean for figure in row.figures.values()))


def families(
    table: comparison_document.ComparisonTable, titles: Mapping[str, str]
) -> Iterator[tuple[str, list[ComparedPair]]]:
    """Yields the title of each family that has tests, and its pairs in words with their tests."""
    for family, tests in table.tests:
        if tests:
            yield titles[family], _pairs(table, tests)


def _pairs(
    table: comparison_document.ComparisonTable, tests: tuple[comparison_document.SeedTest, ...]
) -> list[ComparedPair]:
    names = {system.run: system.label for system in table.systems}
    kinds = {(system.run, system.system): system.kind for system in table.systems}
    shared_baselines = len(fitted_by(table)) < 2

    def side_in_words(side: comparison_document.SystemOfRun) -> str:
        # A first stage that is shared with the reference has no row, and so no kind.
        if kinds.get((side.run, side.system)) == "baseline" and shared_baselines:
            return label(side.system)
        return f"{names[side.run]}, {label(side.system)}"

    pairs: dict[tuple[str, str, str, str], ComparedPair] = {}
    for test in tests:
        key = (test.a.run, test.a.system, test.b.run, test.b.system)
        if key not in pairs:
            pairs[key] = ComparedPair(side_in_words(test.a), side_in_words(test.b), {})
        pairs[key].tests[test.metric] = test
    return list(pairs.values())


def comparison_markdown(document: comparison_document.ComparisonDocument) -> str:
    """All tables, one section for each data set."""
    sections = [_table(table, document) for table in document.tables]
    return "\n\n".join(sections) + "\n"


def sentence(table: comparison_document.ComparisonTable, num_seeds: int) -> str:
    """Says what the figures are, and what the p beside them means."""
    queries, candidates = table.test_queries, table.ranked_candidates
    text = f"{queries:,} test queries, {candidates:,} candidates ranked. "
    if num_seeds == 1:
        return f"{text}One seed: it says nothing about the noise of training; nothing is tested."
    text += f"Mean and, in parentheses, standard deviation over {num_seeds} seeds. "
    if table.tests.runs:
        text += (
            f"p: against {label_of(table, table.reference)}, the larger p of a paired t-test "
            "over queries and one over seeds, after Holm's correction over the table; bold below "
            ".05."
        )
    if num_seeds < _FEW_SEEDS:
        text += f" {num_seeds} seeds are few: the test over seeds finds large differences only."
    return text.rstrip()


def _table(
    table: comparison_document.ComparisonTable, document: comparison_document.ComparisonDocument
) -> str:
    metrics, reference = table.metrics, label_of(table, table.reference)
    with_p = bool(table.tests.runs) and len(document.seeds) > 1
    header = ["run", "system"]
    for metric in metrics:
        header += [metric, "p"] if with_p else [metric]
    rows = [_row(row, metrics, with_p=with_p) for row in comparison_rows(table)]
    parts = [
        f"### {table.dataset}",
        sentence(table, len(document.seeds)),
        _grid(header, rows),
    ]
    if table.verdicts:
        parts.append("\n".join(f"- {line}" for line in verdict_lines(table)))
    for title, pairs in families(table, _SECTIONS):
        parts += [f"#### {title.format(reference=reference)}", _tests(metrics, pairs)]
    runs = [run for run in document.runs if run.judged_on == table.judged_on]
    listed = [f"- {run.label}: {_changes(run.changes)}" for run in runs if run.changes]
    if listed:
        parts += [f"#### Settings that differ from {reference}", "\n".join(listed)]
    return "\n\n".join(parts)


def _row(row: ComparisonRow, metrics: tuple[str, ...], *, with_p: bool) -> list[str]:
    cells = [row.label, label(row.system)]
    for metric in metrics:
        figure = row.figures[metric]
        deviation = "" if figure.sd is None else f" ({decimal(figure.sd)})"
        cells.append(f"{decimal(figure.mean)}{deviation}")
        if with_p:
            test = row.tests.get(metric)
            p = "" if test is None else probability(test.both.p_holm)
            cells.append(f"**{p}**" if test is not None and test.significant else p)
    return cells


def _tests(metrics: tuple[str, ...], pairs: list[ComparedPair]) -> str:
    rows = []
    for pair in pairs:
        cells = [pair.a, pair.b]
        for metric in metrics:
            test = pair.tests[metric]
            p = probability(test.both.p_holm)
            change = f"{'+' if test.difference > 0 else ''}{decimal(test.difference)}"
            text = f"{change} ({p})" if p else change
            cells.append(f"**{text}**" if test.significant else text)
        rows.append(cells)
    return _grid(["a", "b", *(f"{metric}: a - b (p)" for metric in metrics)], rows)


def _changes(changes: dict[str, comparison_document.SettingChange]) -> str:
    return "; ".join(
        f"`{key}` {_setting(change, 'before')} to {_setting(change, 'after')}"
        for key, change in changes.items()
    )


def _setting(change: comparison_document.SettingChange, side: str) -> str:
    if side not in change.model_fields_set:
        return "absent"
    value = getattr(change, side)
    if value is None:
        return "null"
    if value == []:
        return "empty"
    return "present" if isinstance(value, dict) else in_words(value)


def _grid(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * 2 + ["---:"] * (len(header) - 2), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped)
