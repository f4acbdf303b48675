"""Command line of the benchmark of training throughput."""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.benchmarks.training_throughput.large_table import dense_of_size, sparse_gradients
from tests.benchmarks.training_throughput.measuring import compare, measure
from tests.benchmarks.training_throughput.ml_1m import Size, World, make_world
from tests.benchmarks.training_throughput.parts import floor, profile
from tests.benchmarks.training_throughput.systems import (
    Objective,
    Step,
    fitting_config,
    keras_loop,
    project,
    project_model,
    tfrs_model,
)
from tests.benchmarks.training_throughput.table import render
from tfrs_twotower.keras_api import keras
from tfrs_twotower.training.optimizers import SPARSE_ROWS

_DESCRIPTION = """\
Training throughput of the project's own step, in examples per second, against a plain Keras loop
and against a tfrs.Model with tfrs.tasks.Retrieval, on the same towers with the same losses.

Towers and data have the shape of IntTower on ML-1M: 6,040 users, 3,706 films, layers of 300, 300
and 128, fields of 32, heads of 64; batch 2048. All systems live in one process and take turns, and
a ratio is the median over rounds of the ratio inside a round, so that other load on the machine
falls on all alike; above 1 the other system is slower. The same is said of processor seconds,
which such load disturbs less. The first steps of a system are not timed.

  retrieval  the in-batch softmax with logQ correction alone: what tfrs.tasks.Retrieval has
  joint      with IntTower's two terms of the heads: softmax of the scores of all pairs, and CIR
"""
_EPILOG = """\
The project's default hides all known positives of a query; Keras and TFRS hide only repeats of
the same candidate, so `same mask` is the comparison like for like. The Keras loop scores all pairs
of heads with the project's own product, unless --plain-pairs adds one that does it in one piece
(about 5 GB at 4 heads; do not try with 32). 32 heads (the paper's PyTorch code; 4 is its MindSpore
version) cost 64 times the product of 4: try --objectives joint --heads 32 --rounds 1 --steps 1.

examples:
  python -m tests.benchmarks.training_throughput --json build/throughput.json
  python -m tests.benchmarks.training_throughput --objectives retrieval --rounds 21
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and says what it found."""
    options = _parse(arguments)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if options.deterministic:
        keras.utils.set_random_seed(1)
        tf.config.experimental.enable_op_determinism()
    size = Size(options.queries, options.candidates, options.examples)
    found: dict[str, Any] = {"options": vars(options)}
    for objective in options.objectives:
        found[objective] = _objective(objective, size, options)
    if options.table_rows:
        found["large_table"] = _large_table(size, options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")
    sys.stdout.write(render(found))


def _objective(objective: Objective, size: Size, options: argparse.Namespace) -> dict[str, Any]:
    config = fitting_config(options.batch_size)
    steps = options.steps or (10 if objective == "retrieval" else 2)

    def world() -> World:
        return make_world(size, options.heads)

    with tempfile.TemporaryDirectory() as name:
        systems: dict[str, Step] = {
            "project, same mask": project(
                world(), config, objective, Path(name) / "same", mask=False
            ),
            "project, default mask": project(
                world(), config, objective, Path(name) / "default", mask=True
            ),
            "Keras loop": keras_loop(world(), config, objective),
        }
        if objective == "retrieval":
            systems["tfrs.tasks.Retrieval"] = tfrs_model(world(), config)
        elif options.plain_pairs:
            systems["Keras loop, plain pairs"] = keras_loop(
                world(), config, objective, plain_pairs=True
            )
        times = measure(systems, rounds=options.rounds, steps=steps, warmup=options.warmup)
    systems.clear()
    own = world()
    model = project_model(own, config, objective, mask=True)
    return {
        "systems": compare(times, options.batch_size),
        "parts_cpu_ms": profile(
            own,
            model,
            objective,
            batch_size=options.batch_size,
            rounds=options.rounds,
            steps=max(1, steps // 2),
        ),
        "floor": floor(own, objective, batch_size=options.batch_size, num_heads=options.heads),
        "sparse_off_the_tape": sparse_gradients(model, _batch(own, options.batch_size)),
    }


def _large_table(size: Size, options: argparse.Namespace) -> dict[str, Any]:
    config = fitting_config(options.batch_size)
    rows = options.table_rows + 2  # missing, unknown
    world = make_world(size, options.heads, table_rows=options.table_rows)
    model = project_model(world, config, "retrieval", mask=True)
    dense = dense_of_size(model.train_step, rows, _batch(world, options.batch_size))
    with tempfile.TemporaryDirectory() as name:
        systems = {
            "project, default mask": project(world, config, "retrieval", Path(name), mask=True),
            "tfrs.tasks.Retrieval": tfrs_model(world, config),
        }
        times = measure(systems, rounds=options.rounds, steps=2, warmup=options.warmup)
    return {
        "rows": rows,
        "sparse_rows": SPARSE_ROWS,
        "dense_of_its_size": dense,
        "systems": compare(times, options.batch_size),
    }


def _batch(world: World, batch_size: int) -> dict[str, Any]:
    return tf.nest.map_structure(tf.constant, world.table.batch(range(batch_size), 1))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.training_throughput",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--objectives", nargs="+", choices=["retrieval", "joint"], default=["retrieval", "joint"])
    add("--heads", type=int, default=4, help="of each query layer and of a candidate (4)")
    add("--rounds", type=int, default=11, help="turns of every system (11)")
    add("--steps", type=int, help="steps of a turn (retrieval 10, joint 2)")
    add("--warmup", type=int, default=3, help="steps before the first round (3)")
    add("--batch-size", type=int, default=2048, help="examples of a step (2048)")
    add("--plain-pairs", action="store_true", help="adds a Keras loop without chunks of pairs")
    add(
        "--deterministic",
        action="store_true",
        help="TensorFlow's op determinism for all systems (a run's default; off here)",
    )
    add(
        "--table-rows",
        type=int,
        default=1_000_000,
        help="user ids of a table whose gradient must stay sparse (1,000,000); 0 leaves it out",
    )
    default = Size()
    add("--queries", type=int, default=default.num_queries, help="users (6,040)")
    add("--candidates", type=int, default=default.num_candidates, help="films (3,706)")
    add("--examples", type=int, default=default.num_examples, help="positives (575,281)")
    add("--json", type=Path, help="also writes the figures to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
