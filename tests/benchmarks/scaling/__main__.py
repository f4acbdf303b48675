"""Runs every stage on planted tables of several sizes, and writes docs/scaling.md.

    python -m tests.benchmarks.scaling --workdir build/scaling
    python -m tests.benchmarks.scaling --sizes 100000/10000 300000/30000 1000000/100000

For each size it makes the tables by `twotower dataset synthetic`, says each stage of
pipelines/configs/synthetic.yaml in a process of its own, with one epoch of training and one thread
for TensorFlow and BLAS, and notes CPU seconds and peak memory, child processes included. Times are
those of the processor, so that a busy machine changes them little; what they hold of starting
Python, four to five seconds, is not taken off.

The tables stand between markers in docs/scaling.md, the picture in docs/images/scaling.svg. What
was measured is kept in the working directory: the same command, said again, measures only what is
missing; `--again STAGE` measures a stage once more.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from tests.benchmarks.results import REPOSITORY, RESULTS, insert
from tests.benchmarks.scaling import measuring, paper, table

PAGE = REPOSITORY / "docs" / "scaling.md"
PICTURE = REPOSITORY / "docs" / "images" / "scaling.svg"
_RUN = REPOSITORY / "pipelines" / "configs" / "synthetic.yaml"
_SIZES = ("100000/10000", "300000/30000", "1000000/100000")
_WRITES = {
    "preprocess": "preprocessed", "train": "model", "embed": "embeddings", "build-index": "index",
    "export": "bundle", "evaluate": "report",
}  # fmt: skip
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
)


def main() -> None:
    """Parses the arguments, measures, and writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", nargs="+", default=_SIZES, metavar="INTERACTIONS/CANDIDATES")
    add("--workdir", type=Path, default=Path("build/scaling"), help="build/scaling")
    add("--again", action="append", default=[], choices=table.STAGES, help="measures it once more")
    options = parser.parse_args()
    sizes = sorted({table.Size.parse(text) for text in options.sizes}, key=dataclasses.astuple)
    measured = {size: measure(size, options.workdir.resolve(), options.again) for size in sizes}
    write(measured, PAGE, PICTURE)
    sys.stdout.write(table.render(measured))


def write(measured: table.Measured, page: Path, picture: Path) -> None:
    """Writes the tables into the page, and the picture."""
    text = page.read_text(encoding="utf-8")
    text = insert(text, "measured", table.render(measured))
    text = insert(text, "paper", paper.render(measured, paper.read_served(RESULTS)))
    page.write_text(text, encoding="utf-8")
    table.draw(measured, picture)


def measure(size: table.Size, workdir: Path, again: list[str]) -> dict[str, measuring.Taken]:
    """Runs the stages of one size that are not measured yet, until one fails."""
    directory = workdir / f"{size.interactions}-{size.candidates}"
    directory.mkdir(parents=True, exist_ok=True)
    kept = directory / "measured.json"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    taken = {name: measuring.Taken(**own) for name, own in known.items() if name not in again}
    if not (directory / "data" / "synthetic").exists():
        sizes = ["--interactions", str(size.interactions), "--candidates", str(size.candidates)]
        made = _twotower(["dataset", "synthetic", *sizes, "--out", "data"], directory, "dataset")
        if made.exit_code:
            sys.exit(f"the tables of {size} were not made: see {directory / 'dataset.log'}")
    for stage in table.STAGES:
        if stage in taken:
            continue
        settings = [f"data_root={directory / 'data'}", "training.epochs=1"]
        arguments = [stage, str(_RUN), "--workdir", "run"]
        for setting in settings:
            arguments += ["--set", setting]
        one = _twotower(arguments, directory, stage)
        if one.exit_code:
            sys.stderr.write(f"{size}: {stage} failed: see {directory / stage}.log\n")
            break
        written = directory / "run" / _WRITES[stage]
        size_of = sum(path.stat().st_size for path in written.rglob("*") if path.is_file())
        taken[stage] = dataclasses.replace(one, written_bytes=size_of)
        sys.stderr.write(f"{size}: {stage}: {one.cpu_s:,.1f} s, {one.peak_bytes / 1e9:.2f} GB\n")
        text = json.dumps({name: own.as_json() for name, own in taken.items()}, indent=1)
        kept.write_text(text + "\n", encoding="utf-8")
    return taken


def _twotower(arguments: list[str], directory: Path, name: str) -> measuring.Taken:
    environment = {**_ONE_THREAD, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "pipelines", *arguments]
    return measuring.run(command, directory / f"{name}.log", environment, directory)


if __name__ == "__main__":
    main()
