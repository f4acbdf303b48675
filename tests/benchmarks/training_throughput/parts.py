"""Where the time of the project's step goes, and what a step must cost at least."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tests.benchmarks.training_throughput.measuring import Times, measure
from tests.benchmarks.training_throughput.ml_1m import World
from tests.benchmarks.training_throughput.systems import Objective
from tfrs_twotower.training.optimizers import aggregate_gradient, clip
from tfrs_twotower.training.two_tower_model import TwoTowerModel

Stage = Callable[[dict[str, Any]], Any]

_FLOAT = 4


def profile(
    world: World,
    model: TwoTowerModel,
    objective: Objective,
    *,
    batch_size: int,
    rounds: int,
    steps: int,
) -> dict[str, float]:
    """Milliseconds of processor for each part of a step, in the step's order.

    Longer and longer beginnings of the step are compiled and timed in turn; a part is the
    difference of two of them. `of which all pairs` is that product alone, both ways.
    """
    places = np.random.default_rng(0).integers(0, len(world.table), batch_size)
    batch = _tensors(world.table.batch(places, 1))
    stages = {**_forward(model, objective), **_backward(model)}
    systems = {name: _compiled(stage, batch) for name, stage in stages.items()}
    systems["input"] = lambda: _tensors(world.table.batch(places, 1))
    times = measure(systems, rounds=rounds, steps=steps)

    def between(longer: str, *shorter: str) -> float:
        rest = sum(times[name].cpu_median for name in shorter)
        return 1e3 * (times[longer].cpu_median - rest)

    parts = {
        "input": between("input"),
        "towers forward": between("towers"),
        "mask of known positives": between("mask"),
        "terms forward": between("forward", "towers", "mask"),
        "backward": between("gradients", "forward"),
        "aggregate and clip": between("clip", "gradients"),
        "optimiser": between("step", "clip"),
    }
    if objective == "joint":
        parts["of which all pairs"] = between("all_pairs", "towers")
    return parts


def _forward(model: TwoTowerModel, objective: Objective) -> dict[str, Stage]:
    def towers(batch: dict[str, Any]) -> Any:
        tokens = model._sampling.tokens_of(batch["candidate_rows"])
        query = model.towers.query.encode(batch["tokens"], training=True)
        candidate = model.towers.candidate.encode(tokens, training=True)
        if objective == "retrieval":
            return query.embedding, candidate.embedding
        return query.embedding, candidate.embedding, query.heads, candidate.heads

    def mask(batch: dict[str, Any]) -> Any:
        rows = batch["candidate_rows"]
        return model._sampling.hidden(batch["query_rows"], rows, rows)

    def all_pairs(batch: dict[str, Any]) -> Any:
        heads = towers(batch)[2:]
        with tf.GradientTape() as tape:
            tape.watch(heads)
            scores = model.towers.scorer.all_pairs(*heads)
        return tape.gradient(scores, heads)

    stages: dict[str, Stage] = {
        "towers": towers,
        "mask": mask,
        "forward": lambda batch: model.terms(batch, training=True),
    }
    return {**stages, "all_pairs": all_pairs} if objective == "joint" else stages


def _backward(model: TwoTowerModel) -> dict[str, Stage]:
    variables = model.trainable_variables

    def gradients(batch: dict[str, Any]) -> list[Any]:
        with tf.GradientTape() as tape:
            total, _ = model.terms(batch, training=True)
        return [
            (gradient, variable)
            for gradient, variable in zip(tape.gradient(total, variables), variables, strict=True)
            if gradient is not None
        ]

    def clipped(batch: dict[str, Any]) -> Any:
        return clip([aggregate_gradient(*pair) for pair in gradients(batch)], model._clip_norm)[0]

    return {
        "gradients": lambda batch: [gradient for gradient, _ in gradients(batch)],
        "clip": clipped,
        "step": model.train_step,
    }


def floor(
    world: World, objective: Objective, *, batch_size: int, num_heads: int, rounds: int = 7
) -> dict[str, float]:
    """The least a step can cost: its products at the speed of one large product, then its bytes.

    Bytes are those of the batch x batch matrices (seven passes of a softmax each: scores out, in
    and out for the exponentials, in and out for the gradient, in for two products), of activations
    (out and in, both ways), and of the optimiser (gradient, weight and two moments in, three out).

    Returns:
        GFLOP and MB of a step, the two speeds, measured here, and the milliseconds of processor.
    """
    heads = num_heads * 64 if objective == "joint" else 0
    dims = [300, 300, 128]
    products = activations = 0
    for tower in (world.towers.query, world.towers.candidate):
        of_heads = sum(dims) if tower is world.towers.query else dims[-1]
        inputs = [32 * tower.num_fields, *dims]
        products += sum(a * b for a, b in zip(inputs, [*dims, 32], strict=True)) + of_heads * heads
        activations += sum(inputs) + 32 + of_heads // 100 * heads
    square = batch_size**2
    flop = 2.0 * (3 * batch_size * products + 3 * square * 32)
    softmaxes = 1
    if objective == "joint":
        flop += 2.0 * square * (3 * heads + 4 * 3 * num_heads * heads)
        softmaxes = 3
    weights = sum(int(np.prod(v.shape)) for v in world.towers.trainable_variables)
    num_bytes = _FLOAT * (7 * softmaxes * square + 4 * batch_size * activations + 7 * weights)
    flop_per_s, bytes_per_s = _speeds(rounds)
    return {
        "gflop": flop / 1e9,
        "mb": num_bytes / 1e6,
        "gflop_per_cpu_s": flop_per_s / 1e9,
        "gb_per_cpu_s": bytes_per_s / 1e9,
        "products_ms": 1e3 * flop / flop_per_s,
        "bytes_ms": 1e3 * num_bytes / bytes_per_s,
    }


def _speeds(rounds: int) -> tuple[float, float]:
    size = 2048
    matrix = tf.random.stateless_normal([size, size], [1, 2])
    long = tf.zeros([2**24])
    times: dict[str, Times] = measure(
        {"product": lambda: tf.matmul(matrix, matrix).numpy(), "copy": lambda: (long + 1.0)[0]},
        rounds=rounds,
        steps=2,
    )
    product, copy = times["product"].cpu_median, times["copy"].cpu_median
    return 2.0 * size**3 / product, 2.0 * _FLOAT * 2**24 / copy


def _compiled(function: Stage, batch: dict[str, Any]) -> Callable[[], Any]:
    compiled = tf.function(lambda batch: function(batch), autograph=False)
    return lambda: tf.nest.flatten(compiled(batch))[0].numpy()


def _tensors(batch: dict[str, Any]) -> dict[str, Any]:
    return tf.nest.map_structure(tf.convert_to_tensor, batch)
