"""Systems that find texts, one table: quality on the full corpus, latency, bytes, served answers.

    TWOTOWER_DATA=data python -m tests.benchmarks.text_systems --only vaswani \\
        --workdir build/text_systems

The systems are the rows of tests/benchmarks/grids/text_systems.yaml: changes to one run config with
one encoder. Each is trained and exported by `twotower run`; its bundle is checked for the server of
its design, a local server must answer with it as offline search does, and its answers are judged. A
second stage re-scores what the first one finds, and stands in the table as the cascade of both; a
cross-encoder ranks the same lists and is not served. Several seeds end in means, and a difference
is tested over queries and over seeds, with Holm's correction over the table (`twotower compare`
tests alike). What was measured is kept in the working directory: the same command measures what is
missing. Times are taken anew, of all systems in turns, on the processor's clock and one thread.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.comparing.planned_runs import load_plan
from tests.benchmarks.text_systems.measuring import (
    CROSS_ENCODER,
    METRICS,
    SERVED,
    Measured,
    Served,
    context_of,
    measure,
    milliseconds,
)
from tfrs_twotower.evaluation.comparison.across_seeds import SystemSeeds, paired_tests

GRID = Path("tests/benchmarks/grids/text_systems.yaml")
SETS = ("vaswani", "medquad")
REFERENCE = "two_tower"
_TESTED = METRICS.index("ndcg@10")


def rows_of(name: str, system: str, seeds: Sequence[Measured]) -> list[SystemSeeds]:
    """The rows of a system: what it serves, and a cross-encoder that taught it."""
    shown = {SERVED: system, CROSS_ENCODER: CROSS_ENCODER}
    return [
        SystemSeeds(name, row, np.array([seed.values[stage] for seed in seeds]))
        for stage, row in shown.items()
        if stage in seeds[0].values
    ]


def table(
    name: str, systems: Mapping[str, Sequence[Measured]], milliseconds: Mapping[str, float]
) -> str:
    """Markdown of all systems of a set.

    Args:
        name: the set.
        systems: what was measured of each, by seed; with the reference.
        milliseconds: of one query, by system.
    """
    rows = [row for system, seeds in systems.items() for row in rows_of(name, system, seeds)]
    (reference,) = (row for row in rows if row.system == REFERENCE)
    pairs = [(row, reference) for row in rows if row is not reference]
    tests = {
        test.a.system: test
        for test in paired_tests(pairs, METRICS)
        if test.metric == METRICS[_TESTED]
    }
    lines = [
        f"| system | {' | '.join(METRICS)} | - {REFERENCE} (p) | ms | bytes | index MB | served |",
        f"| --- {'| ---: ' * (len(METRICS) + 5)}|",
    ]
    num_seeds, _, num_queries = reference.values.shape
    for row in rows:
        cells = [row.system, *(f"{mean:.4f}" for mean in row.values.mean(axis=(0, 2)))]
        test = tests.get(row.system)
        p = test and (test.both if num_seeds > 1 else test.over_queries).p_holm
        cells.append("" if test is None else f"{test.difference:+.4f} ({p:.3f})")
        is_served = row.system in systems
        if is_served:
            seeds = [seed.served for seed in systems[row.system]]
            cells += [f"{milliseconds[row.system]:.2f}", *_cells(seeds)]
        else:
            cells += ["", "", "", "no"]
        lines.append(f"| {' | '.join(cells)} |")
    return (
        f"{name}: {num_queries:,} test queries, {num_seeds} seed{'s' * (num_seeds > 1)}; p of "
        f"{METRICS[_TESTED]}{'' if num_seeds > 1 else ', over queries alone'}.\n\n"
    ) + "\n".join(lines)


def _cells(served: Sequence[Served]) -> list[str]:
    stored = np.mean([(one.bytes_per_candidate, one.index_mb) for one in served], axis=0)
    worst = max(one.difference for one in served)
    return [f"{stored[0]:,.0f}", f"{stored[1]:.1f}", f"to {worst:.0e}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is missing, and prints the table of each set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, default=Path("build/text_systems"))
    parser.add_argument("--only", action="append", choices=SETS)
    parser.add_argument("--systems", help="rows of the grid, with commas; by default all")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N - 1 (1)")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="turns of 20 (10)")
    options = parser.parse_args(arguments)
    plan = load_plan([GRID])
    for name in options.only or SETS:
        runs = {run.label: run for run in plan if run.name == f"{name}-{run.label}"}
        wanted = [REFERENCE, *(options.systems.split(",") if options.systems else runs)]
        unknown = sorted(set(wanted) - set(runs))
        if unknown:
            parser.error(f"--systems: {unknown[0]} is none of {', '.join(runs)}")
        root = options.workdir.resolve()
        measured = {
            system: [
                measure(runs[system], seed, root, runs.values()) for seed in range(options.seeds)
            ]
            for system in dict.fromkeys(wanted)
        }
        contexts = {system: context_of(runs[system], 0, root) for system in measured}
        times = milliseconds(contexts, options.rounds)
        sys.stdout.write(f"{table(name, measured, times)}\n\n")
        sys.stdout.flush()


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    main()
