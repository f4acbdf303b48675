"""`comparison.json`: several runs, each trained with several seeds, side by side.

    {"schema_version": 1,
     "seeds": [0, 1, ...],
     "tables": [{"dataset", "judged_on", "test_queries", "ranked_candidates", "relevant_pairs",
                 "metrics": [key metrics], "reference": name of the run others are tested against,
                 "systems": [{"run", "label", "system", "kind": "model" | "baseline",
                              "metrics": {NAME: {"mean", "sd", "by_seed"}}}],
                 "tests": {"runs" | "stages" | "baselines":
                           [{"a": {"run", "system"}, "b": {"run", "system"}, "metric",
                             "difference", "seeds", "over_queries": {"p", "p_holm"},
                             "over_seeds": {...}, "both": {...}, "significant"}]}}],
     "runs": [{"name", "label", "dataset", "judged_on", "spec", "directory", "baselines_of",
               "changes": {KEY: {"from", "to"}}, "leakage": "clean" | "leaky"}],
     "environment": {...},
     "timings": {RUN: {SEED: {STAGE: seconds}}}}

Runs stand in one table only if they were judged on the same corpus, queries and truth
(`judged_on`) with the same list lengths. `changes` are against the table's reference.
Everything but `timings` is the same for equal runs. A first stage that a further run shares with
the reference, query by query, stands there once. The families of tests (each with Holm's
correction of its own) are, in each table: every further run's systems against the reference's (a
cascade against its retrieval, if it has no cascade);
`cascade` and `hybrid` against `retrieval` within a run; every run's systems against the baselines
that lead in some metric. What is tested is said in `across_seeds`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrs_twotower.config import RunConfig
from tfrs_twotower.errors import ComparisonError
from tfrs_twotower.evaluation.across_seeds import SystemSeeds, paired_tests, spread
from tfrs_twotower.evaluation.config_changes import config_changes
from tfrs_twotower.evaluation.per_query import PerQuery
from tfrs_twotower.evaluation.strict_json import to_plain

MODEL_SYSTEMS = ("retrieval", "cascade", "hybrid")
"""Systems that depend on the trained towers, and so on the seed."""


@dataclass(frozen=True)
class SeedResult:
    """One finished seed of a run.

    Attributes:
        document: its `evaluation.json`.
        per_query: its `per_query.npz`.
        seconds: of each stage.
    """

    document: dict[str, Any]
    per_query: PerQuery
    seconds: dict[str, float]


@dataclass(frozen=True)
class RunResult:
    """All seeds of one run.

    Attributes:
        name: of the run; no other has it.
        label: what tables call it.
        config: its settings.
        directory: where its seeds lie, relative to the comparison.
        baselines_of: name of the run whose first seed fitted the baselines for this one.
        seeds: what each seed found, in order.
    """

    name: str
    label: str
    config: RunConfig
    directory: str
    baselines_of: str
    seeds: tuple[SeedResult, ...]

    @property
    def protocol(self) -> dict[str, Any]:
        """How it was evaluated."""
        return dict(self.seeds[0].document["protocol"])


def compare_runs(runs: Sequence[RunResult]) -> dict[str, Any]:
    """The document of runs that have the same seeds.

    Raises:
        ComparisonError: the seeds of one run were not judged on the same data.
    """
    groups: dict[tuple[str, tuple[int, ...]], list[RunResult]] = {}
    for run in runs:
        judged = {seed.document["protocol"]["judged_on"] for seed in run.seeds}
        if len(judged) > 1:
            raise ComparisonError(
                f"run {run.name}: its seeds were judged on different data ({', '.join(judged)}). "
                "The tables were changed in between: run the comparison again."
            )
        groups.setdefault((*judged, tuple(run.protocol["ks"])), []).append(run)
    reference = {run.name: group[0] for group in groups.values() for run in group}
    return dict(
        to_plain(
            {
                "schema_version": 1,
                "seeds": list(range(len(runs[0].seeds))),
                "tables": [_table(group) for group in groups.values()],
                "runs": [_describe(run, reference[run.name]) for run in runs],
                "environment": runs[0].seeds[0].document["environment"],
                "timings": {
                    run.name: {str(seed): found.seconds for seed, found in enumerate(run.seeds)}
                    for run in runs
                },
            }
        )
    )


def _describe(run: RunResult, reference: RunResult) -> dict[str, Any]:
    document = run.seeds[0].document
    return {
        "name": run.name,
        "label": run.label,
        "dataset": document["dataset"],
        "judged_on": run.protocol["judged_on"],
        "spec": run.config.spec,
        "directory": run.directory,
        "baselines_of": run.baselines_of,
        "changes": config_changes(reference.config, run.config),
        "leakage": document["leakage_check"]["verdict"],
    }


def _table(runs: list[RunResult]) -> dict[str, Any]:
    first = runs[0]
    metrics = first.seeds[0].per_query.metrics
    models = {run.name: _models(run) for run in runs}
    own_baselines, baselines = _baselines(runs)
    leaders = _leaders(baselines)
    reference = models[first.name]
    every = [
        system
        for run in runs
        for system in models[run.name].values()
        if run is first or not _is_shared(system, models[run.name], reference)
    ]
    by_name = {run.name: run for run in runs}
    return {
        "dataset": first.seeds[0].document["dataset"],
        "judged_on": first.protocol["judged_on"],
        "test_queries": first.protocol["test_queries"],
        "ranked_candidates": first.protocol["ranked_candidates"],
        "relevant_pairs": first.protocol["relevant_pairs"],
        "metrics": list(metrics),
        "reference": first.name,
        "systems": [_figures(by_name[s.run], s) for s in (*every, *baselines)],
        "tests": {
            "runs": paired_tests(
                [
                    (s, counterpart)
                    for s in every
                    if s.run != first.name and (counterpart := _counterpart(s, reference))
                ],
                metrics,
            ),
            "stages": paired_tests(
                [(s, models[s.run]["retrieval"]) for s in every if s.system != "retrieval"],
                metrics,
            ),
            "baselines": paired_tests(
                [
                    (s, b)
                    for s in every
                    for b in own_baselines[by_name[s.run].baselines_of]
                    if b.system in leaders
                ],
                metrics,
            ),
        },
    }


def _models(run: RunResult) -> dict[str, SystemSeeds]:
    """The systems that depend on the seed; a cascade that is retrieval is no system of its own."""
    found = {
        system: SystemSeeds(
            run.name, system, np.stack([seed.per_query.values[system] for seed in run.seeds])
        )
        for system in MODEL_SYSTEMS
        if all(system in seed.per_query.values for seed in run.seeds)
    }
    if "cascade" in found and np.array_equal(found["cascade"].values, found["retrieval"].values):
        del found["cascade"]
    return found


def _is_shared(
    system: SystemSeeds, own: dict[str, SystemSeeds], reference: dict[str, SystemSeeds]
) -> bool:
    """Whether it is the reference's first stage over again, below a cascade of the run's own."""
    same = reference.get(system.system)
    return (
        system.system != "cascade"
        and "cascade" in own
        and same is not None
        and np.array_equal(system.values, same.values)
    )


def _counterpart(system: SystemSeeds, reference: dict[str, SystemSeeds]) -> SystemSeeds | None:
    """The same system of the reference; a run without a second stage serves its retrieval."""
    if system.system == "cascade":
        return reference.get("cascade", reference["retrieval"])
    return reference.get(system.system)


def _baselines(runs: list[RunResult]) -> tuple[dict[str, list[SystemSeeds]], list[SystemSeeds]]:
    """Baselines by the run that fitted them, and all of them, best first.

    Two runs that fitted the same one (with other features, say) share it.
    """
    different: list[SystemSeeds] = []
    by_run: dict[str, list[SystemSeeds]] = {}
    for run in runs:
        if run.baselines_of != run.name:
            continue
        by_run[run.name] = []
        for system, values in run.seeds[0].per_query.values.items():
            if system in MODEL_SYSTEMS:
                continue
            same = [b for b in different if b.system == system and (b.values == values).all()]
            if not same:
                same = [SystemSeeds(run.name, system, values[None])]
                different += same
            by_run[run.name] += same
    return by_run, sorted(different, key=lambda found: -float(found.values.mean(axis=2).sum()))


def _leaders(baselines: list[SystemSeeds]) -> set[str]:
    """Names of those that no other exceeds in some metric."""
    if not baselines:
        return set()
    means = np.stack([found.values.mean(axis=(0, 2)) for found in baselines])
    return {baselines[place].system for place in means.argmax(axis=0)}


def _figures(run: RunResult, system: SystemSeeds) -> dict[str, Any]:
    seeds = run.seeds[: len(system.values)]
    metrics = [seed.document["systems"][system.system]["metrics"] for seed in seeds]
    return {
        "run": run.name,
        "label": run.label,
        "system": system.system,
        "kind": "model" if system.system in MODEL_SYSTEMS else "baseline",
        "metrics": {
            name: spread([found[name]["mean"] for found in metrics])
            for name in metrics[0]
            if all(name in found for found in metrics)
        },
    }
