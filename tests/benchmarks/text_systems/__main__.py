"""Systems that find texts, one table: quality on the full corpus, latency, bytes, served answers.

    TWOTOWER_DATA=data python -m tests.benchmarks.text_systems --only vaswani \\
        --workdir build/text_systems

The systems are the rows of tests/benchmarks/grids/text_systems.yaml: changes to one run config with
one encoder. Each is trained and exported by `twotower run`; its bundle is checked for the server of
its design, a local server must answer with it as offline search does, and one query is timed. A
second stage re-scores what the first one finds, and stands in the table as the cascade of both; a
cross-encoder ranks the same lists and is not served. Several seeds end in means, and a difference
is tested over queries and over seeds, with Holm's correction over the table (`twotower compare`
tests alike). What was measured is kept in the working directory: the same command measures what is
missing.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.comparing.planned_runs import load_plan
from tests.benchmarks.text_systems.measuring import METRICS, Measured, Served, measure
from tfrs_twotower.evaluation.comparison.across_seeds import SystemSeeds, paired_tests

GRID = Path("tests/benchmarks/grids/text_systems.yaml")
SETS = ("vaswani", "medquad")
REFERENCE = "two_tower"
_TESTED = METRICS.index("ndcg@10")


def rows_of(name: str, system: str, seeds: Sequence[Measured]) -> list[tuple[SystemSeeds, bool]]:
    """The rows of a system, with whether a row is served: its last stage, and a cross-encoder."""
    stages = seeds[0].values
    last = "cascade" if "cascade" in stages else "retrieval"
    shown = {system: last}
    if "cross_encoder" in stages:
        shown["cross_encoder"] = "cross_encoder"
    return [
        (SystemSeeds(name, row, np.array([seed.values[stage] for seed in seeds])), row == system)
        for row, stage in shown.items()
    ]


def table(name: str, systems: Mapping[str, Sequence[Measured]]) -> str:
    """Markdown of all systems of a set.

    Args:
        name: the set.
        systems: what was measured of each, by seed; with the reference.
    """
    rows = [
        (values, systems[system] if is_served else None)
        for system, seeds in systems.items()
        for values, is_served in rows_of(name, system, seeds)
    ]
    (reference,) = (values for values, _ in rows if values.system == REFERENCE)
    pairs = [(values, reference) for values, _ in rows if values is not reference]
    tests = {
        test.a.system: test
        for test in paired_tests(pairs, METRICS)
        if test.metric == METRICS[_TESTED]
    }
    lines = [
        f"| system | {' | '.join(METRICS)} | - {REFERENCE} (p) | ms | bytes | index MB | served |",
        f"| --- {'| ---: ' * (len(METRICS) + 5)}|",
    ]
    for values, seeds in rows:
        means = values.values.mean(axis=(0, 2))
        cells = [values.system, *(f"{mean:.4f}".lstrip("0") for mean in means)]
        test = tests.get(values.system)
        if test is None:
            cells.append("")
        else:
            several = len(values.values) > 1
            p = (test.both if several else test.over_queries).p_holm
            cells.append(f"{test.difference:+.4f} ({p:.3f})".replace("0.", ".", 1))
        cells += ["", "", "", "no"] if seeds is None else _cells([seed.served for seed in seeds])
        lines.append(f"| {' | '.join(cells)} |")
    num_seeds, _, num_queries = reference.values.shape
    return (
        f"{name}: {num_queries:,} test queries, {num_seeds} seed{'s' * (num_seeds > 1)}; p of "
        f"{METRICS[_TESTED]}{'' if num_seeds > 1 else ', over queries alone'}.\n\n"
    ) + "\n".join(lines)


def _cells(served: Sequence[Served]) -> list[str]:
    def mean(field: str) -> float:
        return float(np.mean([getattr(one, field) for one in served]))

    worst = max(one.difference for one in served)
    numbers = [f"{mean('milliseconds'):.2f}", f"{mean('bytes_per_candidate'):,.0f}"]
    return [*numbers, f"{mean('index_mb'):.1f}", f"to {worst:.0e}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is missing, and prints the table of each set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, default=Path("build/text_systems"))
    parser.add_argument("--only", action="append", choices=SETS)
    parser.add_argument("--systems", help="rows of the grid, with commas; by default all")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N - 1 (1)")
    options = parser.parse_args(arguments)
    plan = load_plan([GRID])
    for name in options.only or SETS:
        runs = {run.label: run for run in plan if run.name == f"{name}-{run.label}"}
        wanted = [REFERENCE, *(options.systems.split(",") if options.systems else runs)]
        unknown = sorted(set(wanted) - set(runs))
        if unknown:
            parser.error(f"--systems: {unknown[0]} is none of {', '.join(runs)}")
        measured: dict[str, list[Measured]] = {}
        for system in dict.fromkeys(wanted):
            measured[system] = []
            for seed in range(options.seeds):
                root = options.workdir.resolve()
                measured[system].append(measure(runs[system], seed, root, runs.values()))
        sys.stdout.write(f"{table(name, measured)}\n\n")
        sys.stdout.flush()


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    main()
