"""What ScaNN's AVX2 kernels bring on this processor, which its wheels leave off (decision 0022).

    python -m tests.benchmarks.scann_kernels

Planted candidates of 64 dimensions (a million take two minutes to train), one thread, called from
Python, which adds most of a millisecond to a call. A search of all leaves is mostly the scan of
hashed candidates; one of a few leaves is what is served. Both settings take turns in one process;
the ratio is the median over rounds, and the same neighbours are the share that both settings find.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import numpy as np

import tfrs_twotower  # noqa: F401  (before TensorFlow)
from tests.benchmarks.million_candidates.measuring import measure, shared
from tests.benchmarks.million_candidates.own_index import OwnIndex, train_own
from tests.benchmarks.million_candidates.re_scoring import Rows
from tests.benchmarks.million_candidates.served import Threads, use_threads
from tests.benchmarks.million_candidates.world import Floats, make_world
from tfrs_twotower.index.scann_search import avx2_flag, library_of, load_scann

_QUERIES = 128
_K = 100
_ROUNDS = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--candidates", type=int, default=1_000_000, help="in the corpus (1,000,000)")
    options = parser.parse_args(arguments)
    use_threads(Threads(inter_op=-1, intra_op=1))
    flag = avx2_flag(library_of(load_scann()))
    if flag is None or not flag.value:
        parser.error("this processor has no AVX2, or this version of ScaNN no switch for it")
    world = make_world(options.candidates, _QUERIES)
    trained = train_own("scann", world.vectors, _K)
    num_leaves = int(trained["datapoint_to_token"].max()) + 1
    index = OwnIndex("scann", world.vectors, trained, _K)
    lines = [
        "| queries | leaves searched | ms as it comes | with AVX2 | ratio | same neighbours |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]

    def ask(queries: Floats, value: bool) -> Rows:
        flag.value = value
        return index.find(queries, _K)[0]

    for size in (1, 32):
        requests = [world.queries[at : at + size] for at in range(0, _QUERIES, size)]
        for leaves in (num_leaves, max(1, round(0.04 * num_leaves))):
            index.set((leaves, 2 * _K), 1)
            systems: dict[str, Callable[[int], Rows]] = {
                name: lambda number, requests=requests, value=value: ask(requests[number], value)
                for name, value in (("as it comes", False), ("AVX2", True))
            }
            found = [
                np.concatenate([system(number) for number in range(len(requests))])
                for system in systems.values()
            ]
            times = measure(systems, num_queries=len(requests), rounds=_ROUNDS)
            old, new = times["as it comes"], times["AVX2"]
            lines.append(
                f"| {size} | {leaves:,} of {num_leaves:,} | {old.quantile(0.5):.2f} | "
                f"{new.quantile(0.5):.2f} | {new.ratio(old):.2f} | {shared(*found):.4f} |"
            )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
