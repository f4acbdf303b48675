"""What a daily run costs beside a full one, stage by stage.

    twotower dataset synthetic --interactions 1000000 --candidates 100000 --out build/daily/data
    python -m tests.benchmarks.daily_run build/daily/data --workdir build/daily/run

Runs `pipelines/configs/synthetic.yaml` on planted tables, adds a partition of one per cent more
interactions a day after the last one, and runs it again with `--since` that day: one command each,
as a daily job is. Printed are the processor seconds of each stage (user and system), from the end
of the stage before to its own: the start of Python, and every import, counts for the stage that
comes first. One thread, one run. Exits with 1 if a share is above its limit.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DAY_S = 86_400
SHARE = 0.01
BEGINNING = ("preprocess", "train")
"""The stages that are to cost little where little is new."""
BEGINNING_SHARE, SHARE_OF_ALL = 0.15, 0.5
_TICKS = os.sysconf("SC_CLK_TCK")


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
    """Processor seconds of the stages of one command."""
    seconds: dict[str, float] = {}
    whole = [sys.executable, "-m", "pipelines", *command, "--log-format=json"]
    with subprocess.Popen(whole, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "stage" and event["state"] == "finished":
                now = _processor_s(process.pid)
                seconds[event["stage"]] = now - sum(seconds.values())
            elif event.get("event") != "progress":
                sys.stderr.write(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, whole)
    return seconds


def _processor_s(pid: int) -> float:
    """Seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def with_sums(seconds: Mapping[str, float]) -> dict[str, float]:
    """The costs of stages, and of those at the beginning and of all."""
    beginning = sum(seconds[name] for name in BEGINNING)
    return {**seconds, " and ".join(BEGINNING): beginning, "together": sum(seconds.values())}


def main() -> int:
    """Parses the arguments, runs twice, and prints the table; 1 if a share is above its limit."""
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
    full = with_sums(costs(command))
    since = add_a_day(data / "synthetic")
    daily = with_sums(costs([*command, f"--since={since}"]))
    lines = ["| | full: CPU s | daily: CPU s | share |", "| --- | ---: | ---: | ---: |"]
    shares = {name: daily[name] / full[name] for name in full}
    lines += [
        f"| {name} | {full[name]:.1f} | {daily[name]:.1f} | {shares[name]:.2f} |" for name in full
    ]
    sys.stdout.write("\n".join([*lines, ""]))
    limits = {" and ".join(BEGINNING): BEGINNING_SHARE, "together": SHARE_OF_ALL}
    return int(any(shares[name] > limit for name, limit in limits.items()))


if __name__ == "__main__":
    sys.exit(main())
