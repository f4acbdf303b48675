"""Retrieval quality over seeds: `python -m tests.benchmarks.seeds RUN.yaml... --seeds 5`.

Runs every stage of each run config once for each seed, through the command line, sharing one
preprocessed artifact, and prints the mean and deviation of every system's key metrics as a table.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

METRICS = ("ndcg@10", "recall@20", "recall@100")


def run_seed(config: Path, workdir: Path, seed: int, preprocessed: Path | None) -> dict:
    """One seed; returns its evaluation.json."""
    if preprocessed is not None and not (workdir / "preprocessed").exists():
        workdir.mkdir(parents=True, exist_ok=True)
        shutil.copytree(preprocessed, workdir / "preprocessed")
    command = [
        Path(sys.executable).with_name("twotower"),
        "run", config, "--workdir", workdir, "--set", f"seed={seed}", "--json",
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((workdir / "report" / "evaluation.json").read_text(encoding="utf-8"))


def table(config: Path, root: Path, num_seeds: int) -> str:
    """Markdown table of one run config."""
    figures: dict[str, dict[str, list[float]]] = {}
    preprocessed = None
    for seed in range(num_seeds):
        workdir = root / config.stem / f"seed-{seed}"
        document = run_seed(config, workdir, seed, preprocessed)
        preprocessed = workdir / "preprocessed"
        for system, found in document["systems"].items():
            for metric in METRICS:
                mean = found["metrics"][metric]["mean"]
                figures.setdefault(system, {}).setdefault(metric, []).append(mean)
    lines = [
        f"{config.stem}, {num_seeds} seeds, mean (standard deviation)",
        "",
        f"| system | {' | '.join(METRICS)} |",
        f"|---|{'---|' * len(METRICS)}",
    ]
    for system, found in sorted(figures.items(), key=lambda item: -np.mean(item[1]["ndcg@10"])):
        cells = [
            f"{np.mean(found[metric]):.4f} ({np.std(found[metric], ddof=1):.4f})"
            for metric in METRICS
        ]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parses the arguments and prints a table for each run config."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--workdir", type=Path, default=Path("build/seeds"))
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    for config in arguments.configs:
        sys.stdout.write(table(config, arguments.workdir, arguments.seeds) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
