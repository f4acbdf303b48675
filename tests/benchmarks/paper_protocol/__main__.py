"""Command line of the paper protocol."""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from tests.benchmarks.paper_protocol.measuring import Facts, Scores, facts_of, measure
from tests.benchmarks.paper_protocol.models import VARIANTS
from tests.benchmarks.paper_protocol.protocols import PROTOCOLS
from tests.benchmarks.paper_protocol.ratings import load_ratings
from tests.benchmarks.paper_protocol.table import render, summarise

_LOG = logging.getLogger("paper_protocol")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and writes a Markdown and a JSON file."""
    options = _parse(arguments)
    ratings = load_ratings(options.data / "movielens_100k")
    scores: list[Scores] = []
    facts: dict[str, Facts] = {}
    started = time.monotonic()
    for seed in range(options.seeds):
        for protocol, prepare in PROTOCOLS.items():
            prepared = prepare(ratings, seed)
            facts.setdefault(protocol, facts_of(ratings, prepared))
            for score in measure(ratings, protocol, prepared, seed, VARIANTS):
                scores.append(score)
                _LOG.info(
                    "%5.0f s  seed %d  %-22s  %-37s  AUC %.4f  GAUC %.4f  log loss %.4f  epoch %d",
                    time.monotonic() - started,
                    seed,
                    protocol,
                    score.model,
                    *score[3:],
                )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(render(scores, facts), encoding="utf-8")
    document = {
        "facts": {protocol: values._asdict() for protocol, values in facts.items()},
        "summary": summarise(scores),
        "scores": [score._asdict() for score in scores],
    }
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    options.out.with_suffix(".json").write_text(text, encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.paper_protocol",
        description="Measures IntTower's published MovieLens protocol, which leaks its answers, "
        "next to two that do not. Five seeds take about ten minutes of one core.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="where `twotower dataset movielens-100k --out DIR` has put the data",
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0 to N - 1 (5)")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE.md",
        help="the Markdown file; FILE.json is written beside it",
    )
    options = parser.parse_args(arguments)
    if not (options.data / "movielens_100k" / "interactions.tsv").exists():
        parser.error(
            f"--data: {options.data} has no movielens_100k/interactions.tsv; run "
            f"twotower dataset movielens-100k --out {options.data}"
        )
    if options.seeds < 1:
        parser.error(f"--seeds: found {options.seeds}; at least 1 is needed")
    if options.out.suffix != ".md":
        parser.error(f"--out: found {options.out}; the name ends in .md")
    return options


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    _LOG.setLevel(logging.INFO)
    # One thread of each kind: sums then have one order, and a seed one result.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    main()
