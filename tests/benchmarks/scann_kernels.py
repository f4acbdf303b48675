"""What ScaNN's AVX2 kernels bring on this processor, which its wheels leave off (decision 0022).

    python -m tests.benchmarks.scann_kernels

Planted candidates of 64 dimensions (a million take two minutes to train), one query at a time, one
thread, called from Python. A search of all leaves is mostly the scan of hashed candidates; one of a
few leaves is what is served. Both settings take turns in one process; the ratio is the median over
rounds, and the same neighbours are the share that both settings find.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

import tfrs_twotower  # noqa: F401  (before TensorFlow)
from tests.benchmarks.million_candidates.measuring import measure
from tests.benchmarks.million_candidates.own_index import OwnIndex, train_own
from tests.benchmarks.million_candidates.served import Threads, use_threads
from tests.benchmarks.million_candidates.world import make_world
from tfrs_twotower.index.exact import mean_overlap
from tfrs_twotower.index.scann_library import avx2_flag, library_of, load_scann

_QUERIES = 100
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
        "| leaves searched | AVX2 of as it comes | same neighbours |",
        "| ---: | ---: | ---: |",
    ]
    for leaves in (num_leaves, max(1, round(0.04 * num_leaves))):
        index.set((leaves, 2 * _K), 1)

        def ask(query: int, value: bool) -> np.ndarray:
            flag.value = value
            return index.find(world.queries[query : query + 1], _K)[0]

        both = [[ask(query, value)[0] for query in range(_QUERIES)] for value in (False, True)]
        times = measure(
            {
                "as it comes": lambda query: ask(query, False),
                "AVX2": lambda query: ask(query, True),
            },
            num_queries=_QUERIES,
            rounds=_ROUNDS,
        )
        ratio = times["AVX2"].ratio(times["as it comes"])
        same = mean_overlap(*(np.stack(rows) for rows in both))
        lines.append(f"| {leaves:,} of {num_leaves:,} | {ratio:.2f} | {same:.4f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
