"""A text collection with few questions, measured on every question once.

    TWOTOWER_DATA=data python -m tests.benchmarks.question_folds vaswani --workdir build/folds

A question's fold is SHA-256 of its id, modulo five. Each run tests one fold, validates on the next
and learns from the other three; test figures of the five runs are joined, the served system is
compared with BM25, question by question, and p is one-sided (paired randomisation).
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.resampling import paired_randomisation

NUM_FOLDS = 5
METRICS = ("ndcg@10", "recall@100")


def fold_of(question_id: str) -> int:
    """The fold that tests a question."""
    return int(hashlib.sha256(question_id.encode()).hexdigest(), 16) % NUM_FOLDS


def write_fold(source: Path, fold: int, out: Path) -> None:
    """Writes the tables of a fold: those of `source`, with another column `split`."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("corpus.jsonl", "qrels.tsv"):
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(source / name)
    lines = []
    for line in (source / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        question = json.loads(line)
        distance = (fold_of(question["_id"]) - fold) % NUM_FOLDS
        question["split"] = {0: "test", 1: "validation"}.get(distance, "train")
        lines.append(json.dumps(question) + "\n")
    (out / "queries.jsonl").write_text("".join(lines), encoding="utf-8")


def measure(config: Path, name: str, source: Path, workdir: Path, seed: int) -> NDArray[np.float64]:
    """Runs every fold; returns `[2, num_metrics, num_questions]` of served system and BM25."""
    parts = []
    for fold in range(NUM_FOLDS):
        data = workdir / f"fold-{fold}" / "data"
        write_fold(source, fold, data / name)
        run = workdir / f"fold-{fold}" / f"seed-{seed}"
        command = [sys.executable, "-m", "pipelines", "run", str(config), f"--workdir={run}"]
        settings = [f"--set=data_root={data}", f"--set=seed={seed}"]
        subprocess.run([*command, *settings], check=True)
        with np.load(run / "report" / "per_query.npz") as found:
            systems, metrics = found["systems"].tolist(), found["metrics"].tolist()
            served = "cascade" if "cascade" in systems else "retrieval"
            rows = [systems.index(served), systems.index("bm25")]
            columns = [metrics.index(metric) for metric in METRICS]
            parts.append(found["values"][np.ix_(rows, columns)])
    return np.concatenate(parts, axis=2)


def main() -> None:
    """Parses the arguments, measures, and prints a line for each metric."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the set, of its run config and its directory")
    parser.add_argument("--config", type=Path, help="by default pipelines/configs/NAME.yaml")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    config = arguments.config or Path("pipelines/configs") / f"{arguments.name}.yaml"
    source = Path(os.environ.get("TWOTOWER_DATA") or "data").resolve() / arguments.name
    values = np.mean(
        [
            measure(config.resolve(), arguments.name, source, arguments.workdir.resolve(), seed)
            for seed in range(arguments.seeds)
        ],
        axis=0,
    )
    for metric, (served, bm25) in zip(METRICS, values.transpose(1, 0, 2), strict=True):
        difference = served - bm25
        two_sided = float(paired_randomisation(difference[:, None])[0])
        p = two_sided / 2 if difference.mean() > 0 else 1 - two_sided / 2
        sys.stdout.write(
            f"{metric}: served {served.mean():.4f}, BM25 {bm25.mean():.4f}, difference "
            f"{difference.mean():+.4f}, one-sided p {p:.3f}, {len(difference)} questions\n"
        )


if __name__ == "__main__":
    main()
