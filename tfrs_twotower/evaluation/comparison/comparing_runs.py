"""Compares runs over seeds: the systems of each table, and the tests between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfrs_twotower.config import RunConfig
from tfrs_twotower.errors import ComparisonError
from tfrs_twotower.evaluation.comparison import across_seeds, comparison_document
from tfrs_twotower.evaluation.comparison.config_changes import config_changes
from tfrs_twotower.evaluation.evaluation_document import EvaluationDocument, Verdict
from tfrs_twotower.evaluation.remedies import Served
from tfrs_twotower.evaluation.report.report_files import PerQuery
from tfrs_twotower.evaluation.systems import MODEL_SYSTEMS
from tfrs_twotower.evaluation.verdict import judge


@dataclass(frozen=True)
class SeedResult:
    """One finished seed of a run.

    Attributes:
        document: its `evaluation.json`.
        per_query: its `per_query.npz`.
        seconds: seconds of each stage.
    """

    document: EvaluationDocument
    per_query: PerQuery
    seconds: dict[str, float]


@dataclass(frozen=True)
class RunResult:
    """All seeds of one run.

    Attributes:
        name: name of the run, unique in the comparison.
        label: name of the run in tables.
        config: its settings.
        directory: directory of its seeds, relative to the comparison.
        baselines_of: name of the run whose first seed fitted the baselines for this one.
        seeds: the result of each seed, in order.
    """

    name: str
    label: str
    config: RunConfig
    directory: str
    baselines_of: str
    seeds: tuple[SeedResult, ...]

    @property
    def first(self) -> EvaluationDocument:
        """The first seed's `evaluation.json`; seeds share data set and protocol."""
        return self.seeds[0].document


def compare_runs(runs: Sequence[RunResult]) -> comparison_document.ComparisonDocument:
    """Compares runs that have the same seeds.

    Raises:
        ComparisonError: the seeds of one run were not judged on the same data.
    """
    groups: dict[tuple[str, tuple[int, ...]], list[RunResult]] = {}
    for run in runs:
        judged = {seed.document.protocol.judged_on for seed in run.seeds}
        if len(judged) > 1:
            raise ComparisonError(
                f"run {run.name}: its seeds were judged on different data ({', '.join(judged)}). "
                "The tables were changed in between: run the comparison again."
            )
        protocol = run.first.protocol
        groups.setdefault((protocol.judged_on, protocol.ks), []).append(run)
    reference = {run.name: group[0] for group in groups.values() for run in group}
    return comparison_document.ComparisonDocument(
        schema_version=1,
        seeds=tuple(range(len(runs[0].seeds))),
        tables=tuple(_table(group) for group in groups.values()),
        runs=tuple(_describe(run, reference[run.name]) for run in runs),
        environment=runs[0].first.environment,
        timings={
            run.name: {str(seed): result.seconds for seed, result in enumerate(run.seeds)}
            for run in runs
        },
    )


def _describe(run: RunResult, reference: RunResult) -> comparison_document.ComparedRun:
    return comparison_document.ComparedRun(
        name=run.name,
        label=run.label,
        dataset=run.first.dataset,
        judged_on=run.first.protocol.judged_on,
        spec=run.config.spec,
        directory=run.directory,
        baselines_of=run.baselines_of,
        changes=config_changes(reference.config, run.config),
        leakage=run.first.leakage_check.verdict,
    )


def _table(runs: list[RunResult]) -> comparison_document.ComparisonTable:
    first = runs[0]
    metrics = first.seeds[0].per_query.metrics
    models = {run.name: _models(run) for run in runs}
    own_baselines, baselines = _baselines(runs)
    leaders = _leaders(baselines)
    reference = models[first.name]
    compared = [
        system
        for run in runs
        for system in models[run.name].values()
        if run is first or not _is_shared(system, models[run.name], reference)
    ]
    by_name = {run.name: run for run in runs}
    protocol = first.first.protocol
    against_baselines = across_seeds.paired_tests(
        [
            (s, b)
            for s in compared
            for b in own_baselines[by_name[s.run].baselines_of]
            if b.system in leaders
        ],
        metrics,
    )
    return comparison_document.ComparisonTable(
        dataset=first.first.dataset,
        judged_on=protocol.judged_on,
        test_queries=protocol.test_queries,
        ranked_candidates=protocol.ranked_candidates,
        relevant_pairs=protocol.relevant_pairs,
        metrics=metrics,
        reference=first.name,
        systems=tuple(_figures(by_name[s.run], s) for s in (*compared, *baselines)),
        tests=comparison_document.FamiliesOfTests(
            runs=across_seeds.paired_tests(
                [
                    (s, counterpart)
                    for s in compared
                    if s.run != first.name and (counterpart := _counterpart(s, reference))
                ],
                metrics,
            ),
            stages=across_seeds.paired_tests(
                [(s, models[s.run]["retrieval"]) for s in compared if s.system != "retrieval"],
                metrics,
            ),
            baselines=against_baselines,
        ),
        verdicts={
            name: _verdict(name, own, against_baselines, Served.of(by_name[name].first))
            for name, own in models.items()
        },
    )


def _verdict(
    run: str,
    own: Mapping[str, across_seeds.SystemSeeds],
    tests: Sequence[comparison_document.SeedTest],
    served: Served,
) -> Verdict:
    """How a run's last stage stands against the baselines that it is tested against."""
    last = "cascade" if "cascade" in own else "retrieval"
    differences: dict[str, list[comparison_document.SeedTest]] = {}
    for test in tests:
        if (test.a.run, test.a.system) == (run, last):
            differences.setdefault(test.b.system, []).append(test)
    return judge(last, differences, tested=len(own[last].values) > 1, served=served)


def _models(run: RunResult) -> dict[str, across_seeds.SystemSeeds]:
    """The systems that depend on the seed, without a cascade that equals retrieval."""
    models = {
        system: across_seeds.SystemSeeds(
            run.name, system, np.stack([seed.per_query.values[system] for seed in run.seeds])
        )
        for system in MODEL_SYSTEMS
        if all(system in seed.per_query.values for seed in run.seeds)
    }
    if "cascade" in models and np.array_equal(models["cascade"].values, models["retrieval"].values):
        del models["cascade"]
    return models


def _is_shared(
    system: across_seeds.SystemSeeds,
    own: dict[str, across_seeds.SystemSeeds],
    reference: dict[str, across_seeds.SystemSeeds],
) -> bool:
    """Whether a system equals the reference's first stage, and only the run's cascade differs."""
    same = reference.get(system.system)
    return (
        system.system != "cascade"
        and "cascade" in own
        and same is not None
        and np.array_equal(system.values, same.values)
    )


def _counterpart(
    system: across_seeds.SystemSeeds, reference: dict[str, across_seeds.SystemSeeds]
) -> across_seeds.SystemSeeds | None:
    """The same system of the reference; for a cascade its retrieval, if it has no cascade."""
    if system.system == "cascade":
        return reference.get("cascade", reference["retrieval"])
    return reference.get(system.system)


def _baselines(
    runs: list[RunResult],
) -> tuple[dict[str, list[across_seeds.SystemSeeds]], list[across_seeds.SystemSeeds]]:
    """Baselines by the run that fitted them, and all of them, best first.

    Two runs that fitted the same baseline, for instance with other features, share it.
    """
    different: list[across_seeds.SystemSeeds] = []
    by_run: dict[str, list[across_seeds.SystemSeeds]] = {}
    for run in runs:
        if run.baselines_of != run.name:
            continue
        by_run[run.name] = []
        for system, values in run.seeds[0].per_query.values.items():
            if system in MODEL_SYSTEMS:
                continue
            same = [b for b in different if b.system == system and (b.values == values).all()]
            if not same:
                same = [across_seeds.SystemSeeds(run.name, system, values[None])]
                different += same
            by_run[run.name] += same
    return by_run, sorted(different, key=lambda b: -float(b.values.mean(axis=2).sum()))


def _leaders(baselines: list[across_seeds.SystemSeeds]) -> set[str]:
    """Names of the baselines that have the highest mean in some metric."""
    if not baselines:
        return set()
    means = np.stack([baseline.values.mean(axis=(0, 2)) for baseline in baselines])
    return {baselines[place].system for place in means.argmax(axis=0)}


def _figures(
    run: RunResult, system: across_seeds.SystemSeeds
) -> comparison_document.ComparedSystem:
    seeds = run.seeds[: len(system.values)]
    by_seed = [seed.document.systems[system.system].metrics for seed in seeds]
    return comparison_document.ComparedSystem(
        run=run.name,
        label=run.label,
        system=system.system,
        kind="model" if system.system in MODEL_SYSTEMS else "baseline",
        metrics={
            name: across_seeds.seed_figure([metrics[name].mean for metrics in by_seed])
            for name in by_seed[0]
            if all(name in metrics for metrics in by_seed)
        },
    )
