"""Embedding by one worker process and by two, each held to one thread.

    python -m tests.benchmarks.worker_processes --candidates 1000000 --workdir build/workers

Planted tables, towers after two steps, then `twotower embed` with one and with two processes of
Beam's multi-process engine. A process takes seconds to import TensorFlow before it embeds anything,
so a corpus of 1,000 candidates is embedded as well: the rate is that of the other candidates, in
the time that they took. Times are wall clock: measure alone, on as many idle cores as there are
processes and one for the engine. The fastest of the repetitions counts.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SMALL = 1_000
NEEDED = 1.7
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
}
_SHORT = ("training.epochs=null", "training.max_steps=2", "preprocess.num_shards=16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints JSON; 1 if two processes are less than 1.7 times as fast as one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--workdir", type=Path, default=Path("build/workers"))
    options = parser.parse_args(arguments)
    sizes = (SMALL, options.candidates)
    for size in sizes:
        prepare(options.workdir.resolve() / str(size), size)
    rates = {}
    for workers in (1, 2):
        small, large = (
            min(embed(options.workdir / str(size), workers) for _ in range(options.repetitions))
            for size in sizes
        )
        rates[workers] = (options.candidates - SMALL) / (large - small)
    speedup = rates[2] / rates[1]
    sys.stdout.write(
        json.dumps(
            {"candidates_per_s": rates, "speedup": round(speedup, 3), "cores": os.cpu_count()}
        )
        + "\n"
    )
    return int(speedup < NEEDED)


def prepare(directory: Path, candidates: int) -> None:
    """Makes tables and towers, unless they are there."""
    if (directory / "work" / "model" / "manifest.json").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    tables = ("--interactions", "20000", "--candidates", str(candidates))
    twotower(directory, "dataset", "synthetic", *tables, "--out", "data")
    overrides = [part for setting in _SHORT for part in ("--set", setting)]
    twotower(directory, "run", "synthetic", "--workdir", "work", "--to", "train", *overrides)


def embed(directory: Path, workers: int) -> float:
    """Seconds of the stage, with this many worker processes."""
    started = time.perf_counter()
    beam = ("--direct_running_mode=multi_processing", f"--direct_num_workers={workers}")
    overrides = [part for setting in _SHORT for part in ("--set", setting)]
    twotower(directory, "embed", "synthetic", "--workdir", "work", *overrides, "--", *beam)
    return time.perf_counter() - started


def twotower(directory: Path, *arguments: str) -> None:
    """Runs a command in a directory, its data beside it; each process has one thread."""
    subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        cwd=directory,
        env={**os.environ, **_ONE_THREAD, "TWOTOWER_DATA": str(directory.resolve() / "data")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )


if __name__ == "__main__":
    sys.exit(main())
