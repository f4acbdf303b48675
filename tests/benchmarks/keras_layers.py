"""Keras' layers in the place of ours: other bits, larger graphs, time (decision 0023).

    python -m tests.benchmarks.keras_layers

Each pair has the same weights, statistics or vocabulary and sees the same planted inputs of five
seeds. `differ` counts values of the compiled functions that are not the same to the last bit, `by`
is the largest difference. Nodes are those of the function that would be exported; the ratio of time
is Keras' over ours, the median over rounds in which the two take turns on one thread.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tests.benchmarks.million_candidates.measuring import measure
from tfrs_twotower.features.lookup import VocabularyLookup
from tfrs_twotower.features.numbers import ScaledNumber
from tfrs_twotower.keras_api import keras
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.layers.transformer import Attention, LayerNorm
from tfrs_twotower.specs import NumericFeature

_SEEDS = 5
_BATCH = 1024
_TEXTS, _WIDTH, _DIM = 64, 24, 64
_VOCABULARY = 100_000
_ROUNDS = 11

Layer = Callable[..., tf.Tensor]


@dataclass(frozen=True)
class Pair:
    """One layer of ours and what Keras has for it."""

    name: str
    own: Layer
    library: Layer
    inputs: list[tuple[tf.Tensor, ...]]
    """By seed."""


def _numbers() -> list[tuple[tf.Tensor, ...]]:
    return [
        (tf.constant(np.random.default_rng(seed).normal(5, 20, _BATCH), tf.float32),)
        for seed in range(_SEEDS)
    ]


def _texts() -> list[tuple[tf.Tensor, ...]]:
    randoms = [np.random.default_rng(seed) for seed in range(_SEEDS)]
    return [
        (
            tf.constant(random.normal(size=(_TEXTS, _WIDTH, _DIM)), tf.float32),
            tf.constant(np.arange(_WIDTH) < random.integers(1, _WIDTH + 1, (_TEXTS, 1))),
        )
        for random in randoms
    ]


def _lookup(vocabulary: list[str]) -> Pair:
    layer = keras.layers.StringLookup(vocabulary=vocabulary, mask_token="", oov_token="\0")
    random = np.random.default_rng(0)
    words = np.array(["", "not in it", *vocabulary])
    inputs = [(tf.constant(random.choice(words, _BATCH)),) for _ in range(_SEEDS)]
    return Pair(
        "StringLookup",
        VocabularyLookup(vocabulary, "words"),
        lambda values: tf.cast(layer(values), tf.int32),
        inputs,
    )


def _normalised() -> Pair:
    feature = NumericFeature(name="x", kind="numeric", transform="normalise")
    layer = keras.layers.Normalization(axis=None, mean=4.7, variance=19.3**2)

    def library(values: tf.Tensor) -> tf.Tensor:
        missing = tf.math.is_nan(values)
        scaled = tf.clip_by_value(layer(tf.where(missing, 0.0, values)), -10.0, 10.0)
        return tf.stack([tf.where(missing, 0.0, scaled), tf.cast(missing, tf.float32)], axis=1)

    own = ScaledNumber(feature, {"mean": 4.7, "std": 19.3})
    return Pair("Normalization", own, library, _numbers())


def _layer_norm() -> Pair:
    own = LayerNorm(WeightMaker(0), _DIM)
    layer = keras.layers.LayerNormalization(epsilon=1e-6)
    layer.build([None, None, _DIM])
    random = np.random.default_rng(0)
    scale, offset = random.normal(1, 0.3, _DIM), random.normal(0, 0.3, _DIM)
    own.assign(scale, offset)
    layer.set_weights([scale, offset])
    inputs = [(vectors,) for vectors, _ in _texts()]
    return Pair("LayerNormalization", own, layer, inputs)


def _attention(num_heads: int) -> Pair:
    own = Attention(WeightMaker(0), _DIM, num_heads)
    layer = keras.layers.MultiHeadAttention(num_heads, _DIM // num_heads)

    def library(vectors: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        return layer(vectors, vectors, attention_mask=present[:, tf.newaxis, :])

    inputs = _texts()
    library(*inputs[0])
    weights = {variable.name.removesuffix(":0"): variable.numpy() for variable in own.variables}
    for variable in layer.variables:  # one more than ours: a bias for keys
        _, part, kind = variable.name.removesuffix(":0").split("/")
        name = f"{part.removeprefix('attention_')}.{kind}"  # Keras says attention_output
        variable.assign(np.reshape(weights.get(name, np.zeros(_DIM)), variable.shape))
    return Pair(f"MultiHeadAttention, {num_heads} heads", own, library, inputs)


def _pairs(vocabulary: list[str]) -> Iterator[Pair]:
    yield _lookup(vocabulary)
    yield _normalised()
    yield _layer_norm()
    yield from (_attention(num_heads) for num_heads in (2, 4))


def _num_nodes(function: Any) -> int:
    graph = function.get_concrete_function().graph.as_graph_def()
    return len(graph.node) + sum(len(inner.node_def) for inner in graph.library.function)


def _row(pair: Pair) -> str:
    signature = [tf.TensorSpec([None, *value.shape[1:]], value.dtype) for value in pair.inputs[0]]
    own, library = (tf.function(layer, signature) for layer in (pair.own, pair.library))
    answers = [(own(*given).numpy(), library(*given).numpy()) for given in pair.inputs]
    differ = sum(np.count_nonzero(a != b) for a, b in answers)
    largest = max(np.abs(a.astype(float) - b).max() for a, b in answers)
    times = measure(
        {
            "own": lambda number: own(*pair.inputs[number]),
            "library": lambda number: library(*pair.inputs[number]),
        },
        num_queries=_SEEDS,
        rounds=_ROUNDS,
    )
    return (
        f"| {pair.name} | {differ:,} of {sum(a.size for a, _ in answers):,} | {largest:.1e} | "
        f"{_num_nodes(own)} | {_num_nodes(library)} | "
        f"{times['library'].ratio(times['own']):.2f} |"
    )


def _seconds_to_build(layer: Callable[[], Any]) -> float:
    started = time.perf_counter()
    layer()
    return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints a table."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(arguments)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    vocabulary = [f"value {number}" for number in range(_VOCABULARY)]
    lines = [
        "| Keras | differ | by | nodes of ours | of Keras' | time |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(_row(pair) for pair in _pairs(vocabulary)),
    ]
    own = _seconds_to_build(lambda: VocabularyLookup(vocabulary, "words"))
    library = _seconds_to_build(
        lambda: keras.layers.StringLookup(vocabulary=vocabulary, mask_token="", oov_token="\0")
    )
    lines.append(
        f"\nBuilding the lookup of {_VOCABULARY:,} values: {own:.2f} s, Keras' {library:.2f} s."
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
