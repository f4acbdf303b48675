"""Measures every table of docs/results.md and writes it there.

    TWOTOWER_DATA=data python -m tests.benchmarks.results --workdir build/results

Each table stands between two markers in docs/results.md; the sentences around them are written by
hand. What was measured is kept in the working directory: the same command, said again, measures
only what is missing.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "docs" / "results.md"
_GRIDS = "tests/benchmarks/grids"
_CONFIGS = tuple(
    f"pipelines/configs/{name}.yaml" for name in ("movielens_100k", "online_retail", "medquad")
)


@dataclass(frozen=True)
class Table:
    """One measured table: a command that leaves a Markdown file, or prints, what is to be shown."""

    name: str
    command: str
    """Arguments of Python; `{directory}`, `{seeds}` and `{data}` are filled in."""
    file: str | None = "comparison.md"
    """What it leaves there; None takes what it prints, as it stands."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the command says that it is to be run with."""


_COMPARE = "-m pipelines compare {what} --workdir {{directory}} --seeds {{seeds}}"
TABLES = (
    Table("cascade", _COMPARE.format(what=" ".join(_CONFIGS))),
    Table(
        "objectives",
        _COMPARE.format(what=f"{_GRIDS}/objectives.yaml")
        + " --set pre_ranking=null --set training.refit=false",
    ),
    Table(
        "pre_ranking",
        _COMPARE.format(what=f"{_GRIDS}/pre_ranking.yaml") + " --set training.refit=false",
    ),
    Table(
        "paper_protocol",
        "-m tests.benchmarks.paper_protocol --data {data} --seeds {seeds}"
        " --out {directory}/table.md",
        "table.md",
    ),
    Table("training_step", "-m tests.benchmarks.training_throughput", None),
    Table(
        "million_candidates",
        "-m tests.benchmarks.million_candidates --workdir {directory} --out {directory}/table.md",
        "table.md",
        {"OPENBLAS_NUM_THREADS": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    ),
)


def insert(text: str, name: str, table: str) -> str:
    """Replaces what stands between the markers of a table.

    Raises:
        ValueError: the text has not exactly one pair of them.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"expected one {begin} followed by one {end}")
    head, rest = text.split(begin)
    return f"{head}{begin}\n\n{table.strip()}\n\n{end}{rest.split(end)[1]}"


def measure(table: Table, workdir: Path, seeds: int) -> str:
    """Runs a table's command and returns what it found."""
    directory = workdir / table.name
    directory.mkdir(parents=True, exist_ok=True)
    data = os.environ.get("TWOTOWER_DATA") or "data"
    places = {"directory": directory, "seeds": seeds, "data": Path(data).resolve()}
    arguments = [part.format(**places) for part in table.command.split()]
    command = [sys.executable, *arguments]
    environment = {**os.environ, **table.environment}
    if table.file is None:
        printed = subprocess.run(
            command, check=True, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
        ).stdout
        return f"```text\n{printed.strip()}\n```"
    subprocess.run(command, check=True, cwd=REPOSITORY, env=environment)
    return (directory / table.file).read_text(encoding="utf-8")


def main() -> None:
    """Parses the arguments, measures, and writes the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, default=Path("build/results"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=[table.name for table in TABLES])
    arguments = parser.parse_args()
    for table in TABLES:
        if arguments.only is None or table.name in arguments.only:
            found = measure(table, arguments.workdir.resolve(), arguments.seeds)
            text = RESULTS.read_text(encoding="utf-8")
            RESULTS.write_text(insert(text, table.name, found), encoding="utf-8")


if __name__ == "__main__":
    main()
