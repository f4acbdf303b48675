"""Command line of the benchmark of a million candidates."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tfrs_twotower  # noqa: F401  (before TensorFlow)
from tests.benchmarks.million_candidates.cascades import Own
from tests.benchmarks.million_candidates.measuring import CLOCKS, Clock, Times, measure, shared
from tests.benchmarks.million_candidates.parts import measure_parts
from tests.benchmarks.million_candidates.peers import PEERS
from tests.benchmarks.million_candidates.re_scoring import re_score
from tests.benchmarks.million_candidates.served import Threads, use_threads
from tests.benchmarks.million_candidates.systems import Bench, Lists, Sample, System
from tests.benchmarks.million_candidates.table import render
from tests.benchmarks.million_candidates.tuning import LISTED
from tests.benchmarks.million_candidates.world import World, make_world
from tfrs_twotower.ranking.order import exact_top_k

_DESCRIPTION = """\
The whole cascade over a million candidates, as it is served, against libraries for nearest
neighbours that are each followed by the same re-scoring: compiled by Numba from heads in int8, and
in NumPy from float32 (one column; all of it without Numba).

Candidates and queries are planted: unit vectors of 64 dimensions in clusters of uneven size, 4
heads of 64 for each. Every system retrieves --depth candidates, re-scores them by the heads
(greatest product over the candidate's heads, summed over the query's), and answers the best --k.
Every index is tuned on queries of its own to the quickest search whose overlap@100 (the share of
the 100 exact neighbours that stand first in the retrieved list) reaches --target. final@100 is the
share of the answer of exact retrieval and re-scoring that a system's answer has.

Ours is a bundle version in a TensorFlow session, which is how TensorFlow Serving runs it, with the
threads that serving/docker gives it; times are from array to array. All systems live in one process
and take turns; a ratio is the median over rounds of the ratio inside a round. Run it on an idle
machine all the same, with NumPy's products on one thread, whose second would wait for work in a
loop while the others are timed:

  OPENBLAS_NUM_THREADS=1 GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \
      python -m tests.benchmarks.million_candidates --workdir build/million

The second variable lets glibc ask for huge pages, as serving/docker does. It is for all systems;
NumPy asks for them by itself.

Peers that are not installed are left out: pip install -e '.[benchmarks]' -c constraints.txt. They
come to about 15 GB of memory, and 20 minutes to build; --workdir keeps what was built.
"""
_IN_NUMPY = "{}, re-scored in NumPy"
_OWN = (
    "scann",
    "scann, int8 heads",
    "scann, fused int8 heads",
    "ivf",
    "ivf, fused int8 heads",
    "brute_force",
    "brute_force, int8 vectors",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and says what it found."""
    options = _parse(arguments)
    use_threads(_threads(options))
    with tempfile.TemporaryDirectory() as scratch:
        # ScaNN reads the paths in its files as they stand, and takes relative ones for its own.
        workdir = (options.workdir or Path(scratch)).resolve() / f"{options.candidates}"
        workdir.mkdir(parents=True, exist_ok=True)
        found = _measure(options, workdir)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")
    table = render(found)
    if options.out:
        options.out.write_text(table, encoding="utf-8")
    sys.stdout.write(table)


def _measure(options: argparse.Namespace, workdir: Path) -> dict[str, Any]:
    count = options.queries
    world = make_world(options.candidates, 2 * count)
    lists = Lists(options.depth, options.k, options.target)
    scores, rows = exact_top_k(world.queries, world.vectors, options.depth)
    numbers = np.arange(2 * count)
    samples = [Sample(part, rows[part, :LISTED]) for part in (numbers[:count], numbers[count:])]
    clock = CLOCKS[options.clock]
    bench = Bench(world, lists, *samples, workdir, _threads(options), clock)
    measured = numbers[count:]
    wanted = re_score(world, measured, rows[measured], scores[measured], options.k)
    systems = _systems(bench, options.systems)
    for system in systems.values():
        found = np.concatenate([system.rows(measured[at : at + 32]) for at in range(0, count, 32)])
        system.facts["final_overlap"] = shared(found, wanted)
    times = _times(systems, measured, options.rounds, clock)
    best = _report(systems, times)
    parts = {name: _parts(world, system, measured, options) for name, system in systems.items()}
    return {
        "options": vars(options),
        "systems": {name: system.facts for name, system in systems.items()},
        "best_peer": best,
        "parts": parts,
        "targets": _targets(systems, times, parts),
    }


def _systems(bench: Bench, names: Sequence[str]) -> dict[str, System]:
    systems = {}
    exact: dict[str, Any] = {"overlap": 1.0, "build_s": 0.0}
    for kind in ("scann", "ivf"):
        wanted = [name for name in names if name.split(",")[0] == kind]
        if wanted:
            own, facts = bench.approximate(kind)
            for name in wanted:
                systems[name] = bench.served(name, own, facts)
            sys.stderr.write(f"{kind}: ready\n")
    for name in names:
        if name.startswith("brute_force"):
            int8 = "int8 vectors" in name
            own = Own("brute_force", int8=int8)
            facts = {"build_s": 0.0} if int8 else exact
            systems[name] = bench.served(name, own, facts)
        elif name in PEERS and PEERS[name].installed():
            systems[name] = bench.peer(name)
            sys.stderr.write(f"{name}: ready\n")
    return systems


def _times(
    systems: dict[str, System], measured: np.ndarray[Any, Any], rounds: int, clock: Clock
) -> dict[int, dict[str, Times]]:
    """By batch size."""
    found = {}
    for size in (1, 32):
        requests = [measured[at : at + size] for at in range(0, len(measured) - size + 1, size)]
        asked = {
            name: lambda number, ask=ask, requests=requests: ask(requests[number])
            for name, ask in _asked(systems, in_numpy=size == 1).items()
        }
        found[size] = measure(asked, num_queries=len(requests), rounds=rounds, clock=clock)
    return found


def _asked(systems: dict[str, System], *, in_numpy: bool) -> dict[str, Callable[..., Any]]:
    asked = {name: system.ask for name, system in systems.items()}
    if in_numpy:
        for name, system in systems.items():
            if system.in_numpy is not None:
                asked[_IN_NUMPY.format(name)] = system.in_numpy
    return asked


def _report(systems: dict[str, System], times: dict[int, dict[str, Times]]) -> str | None:
    """Adds what was timed to the facts; the quickest peer's name."""
    best, best_batch = (_quickest(PEERS, times[size]) for size in (1, 32))
    for name, system in systems.items():
        one, batch = times[1][name], times[32][name]
        system.facts.update(
            p50_ms=one.quantile(0.5),
            p99_ms=one.quantile(0.99),
            per_second=one.per_second(),
            batch_p50_ms=batch.quantile(0.5),
            batch_per_second=32 * batch.per_second(),
            of_best_peer=one.ratio(times[1][best]) if best else None,
            batch_of_best_peer=batch.ratio(times[32][best_batch]) if best_batch else None,
        )
        if system.in_numpy is not None:
            system.facts["numpy_p50_ms"] = times[1][_IN_NUMPY.format(name)].quantile(0.5)
    return best


def _parts(
    world: World, system: System, measured: np.ndarray[Any, Any], options: argparse.Namespace
) -> dict[str, float]:
    if system.own is None:
        asked = {
            name: lambda turn, part=part: part(measured[turn : turn + 1])
            for name, part in system.parts.items()
        }
        times = measure(
            asked, num_queries=len(measured), rounds=options.rounds, clock=CLOCKS[options.clock]
        )
    else:
        times = measure_parts(
            world,
            system.own,
            system.heads,
            measured,
            depth=options.depth,
            k=options.k,
            rounds=options.rounds,
            threads=_threads(options),
            clock=CLOCKS[options.clock],
        )
    return {name: of.quantile(0.5) for name, of in times.items()}


def _targets(
    systems: dict[str, System],
    times: dict[int, dict[str, Times]],
    parts: dict[str, dict[str, float]],
) -> dict[str, tuple[float | None, float]]:
    """What was asked of the cascade, where it was measured: found, and at most."""
    found: dict[str, tuple[float | None, float]] = {}
    one, batch = times[1], times[32]
    own, best, best_batch = _quickest(_OWN, one), _quickest(PEERS, one), _quickest(PEERS, batch)
    if own is not None:
        stages = {name: ms - parts[own]["empty call"] for name, ms in parts[own].items()}
        found[f"{own}: p50, ms"] = (one[own].quantile(0.5), 0.6)
        found[f"{own}: retrieval, ms"] = (stages["retrieval"], 0.4)
        found[f"{own}: pre-ranking, ms"] = (stages["pre-ranking"], 0.15)
        if best is not None and best_batch is not None:
            found[f"{own}: of the best peer, {best}"] = (one[own].ratio(one[best]), 0.7)
            of_batch = batch[own].ratio(batch[best_batch])
            found[f"{own}: batch of 32, of the best, {best_batch}"] = (of_batch, 1.0)
    without_scann = _quickest([name for name in PEERS if not name.startswith("ScaNN")], one)
    fused = _quickest([name for name in _OWN if name.startswith("ivf, fused")], one)
    if fused is not None and without_scann is not None:
        of_other = one[fused].ratio(one[without_scann])
        found[f"{fused}: of the best without ScaNN, {without_scann}"] = (of_other, 1.0)
    for other, limit in (("brute_force", 1 / 3), ("scann", 4.0)):
        if {"ivf", other} <= systems.keys():
            found[f"ivf: of {other}"] = (one["ivf"].ratio(one[other]), limit)
    loads = [system.facts["load_s"] for system in systems.values() if system.own is not None]
    found["slowest load of a bundle, s"] = (max(loads, default=None), 5.0)
    return found


def _quickest(names: Iterable[str], times: dict[str, Times]) -> str | None:
    """Of the systems with these names that were timed."""
    timed = [name for name in names if name in times]
    return min(timed, key=lambda name: times[name].quantile(0.5), default=None)


def _threads(options: argparse.Namespace) -> Threads:
    return Threads(options.inter_op, options.intra_op)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.million_candidates",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--systems", nargs="+", choices=[*_OWN, *PEERS], default=[*_OWN, *PEERS])
    add("--candidates", type=int, default=1_000_000, help="in the corpus (1,000,000)")
    add("--queries", type=int, default=500, help="to tune on, and as many to measure (500)")
    add("--depth", type=int, default=1000, help="candidates that are re-scored (1,000)")
    add("--k", type=int, default=100, help="candidates of an answer (100)")
    add("--target", type=float, default=0.95, help="least overlap@100 of retrieval (0.95)")
    add("--rounds", type=int, default=15, help="turns of every system, of 20 calls each (15)")
    add(
        "--inter-op",
        type=int,
        default=-1,
        help="our sessions' threads over operations: 0 one a core, -1 the caller's alone (-1)",
    )
    add(
        "--intra-op",
        type=int,
        default=1,
        help="our sessions' threads inside an operation: 0 one a core (1)",
    )
    add(
        "--clock",
        choices=[*CLOCKS],
        default="wall",
        help="what is read: the clock on the wall, or seconds of processors, which are the same on "
        "an idle machine where everything has one thread (wall)",
    )
    add("--workdir", type=Path, help="keeps indexes and bundles here; else they are removed")
    add("--json", type=Path, help="also writes the figures to this file")
    add("--out", type=Path, help="also writes the tables to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
