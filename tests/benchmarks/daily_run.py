"""What a daily run costs beside a full one, stage by stage.

    twotower dataset synthetic --interactions 1000000 --candidates 100000 --out build/daily/data
    python -m tests.benchmarks.daily_run build/daily/data --workdir build/daily/run

Runs `pipelines/configs/synthetic.yaml` on planted tables, adds a partition of one per cent more
interactions a day after the last one, and runs it again with `--since` that day. Printed are
processor seconds (user and system, imports included) of preprocess, of train, and of all stages to
the report. One thread, one run.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.untouched import timed

DAY_S = 86_400
SHARE = 0.01
STEPS = (("preprocess", "--to=preprocess"), ("train", "--to=train"), ("the rest", "--to=evaluate"))


def add_a_day(tables: Path, seed: int = 0) -> str:
    """Writes a partition of interactions of the day after the last one; returns that day.

    Users and items are those of the earlier interactions, drawn as often as they occur there.
    """
    events = pa.concat_tables(
        pq.read_table(path) for path in sorted(tables.glob("interactions-*-of-*.parquet"))
    )
    random = np.random.default_rng(seed)
    count = round(SHARE * len(events))
    day_s = (events["timestamp"].to_numpy().max() // DAY_S + 1) * DAY_S
    drawn = {
        name: events[name].take(random.integers(0, len(events), count))
        for name in ("user_id", "item_id")
    }
    times = np.sort(day_s + random.integers(0, DAY_S, count))
    pq.write_table(pa.table({**drawn, "timestamp": times}), tables / "interactions-new.parquet")
    return datetime.fromtimestamp(int(day_s), UTC).date().isoformat()


def costs(command: Sequence[str]) -> dict[str, float]:
    """Processor seconds of the steps of a run."""
    return {name: timed([*command, until]).cpu_s for name, until in STEPS}


def main() -> None:
    """Parses the arguments, runs twice, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="data root with the directory synthetic")
    parser.add_argument("--workdir", type=Path, required=True)
    options = parser.parse_args()
    data = options.workdir.resolve() / "data"
    shutil.copytree(options.data / "synthetic", data / "synthetic")
    os.environ.update(OMP_NUM_THREADS="1", TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")
    config = "pipelines/configs/synthetic.yaml"
    work = options.workdir.resolve() / "run"
    command = ["run", config, f"--workdir={work}", f"--set=data_root={data}"]
    full = costs(command)
    since = add_a_day(data / "synthetic")
    daily = costs([*command, f"--since={since}"])
    lines = ["| | full: CPU s | daily: CPU s | share |", "| --- | ---: | ---: | ---: |"]
    for name in [*full, "together"]:
        whole, part = (
            sum(run.values()) if name == "together" else run[name] for run in (full, daily)
        )
        lines.append(f"| {name} | {whole:.0f} | {part:.0f} | {part / whole:.2f} |")
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
