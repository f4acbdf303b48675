"""Contextual texts in parts of similar length, beside whole batches (decision 0072).

    python -m tests.benchmarks.length_parts

Each pair is one function of the graph with the same weights and the same planted texts: one step's
forward and backward pass of a transformer text (`training`), and the vectors of a batch as `embed`
and a server make them. Lengths are log-normal, cut at `max_tokens`; `full` texts are all as long as
that, so that parts can save nothing. The ratio is processor time of parts over that of the whole,
the median over rounds in which both take turns.
"""

import argparse
import sys
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tests.benchmarks.million_candidates.measuring import CLOCKS, measure
from tfrs_twotower.config import TransformerConfig
from tfrs_twotower.layers import text_encoders
from tfrs_twotower.layers.length_parts import in_parts_of_similar_length
from tfrs_twotower.layers.seeded import TrainingDropout, WeightMaker

_ROWS, _DIM, _BATCH = 8000, 64, 256
_CONFIG = TransformerConfig()
TEXTS = {"titles": (9, 0.5, 32), "passages": (60, 0.8, 256), "full": (10_000, 0.1, 128)}
"""Median length, deviation of its logarithm, and `max_tokens`."""


def planted(kind: str, batch: int, seed: int = 0) -> tf.Tensor:
    """Tokens of a batch of texts."""
    median, deviation, most = TEXTS[kind]
    random = np.random.default_rng(seed)
    lengths = np.exp(random.normal(np.log(median), deviation, (batch, 1)))
    tokens = random.integers(2, _ROWS, (batch, most))
    return tf.constant(tokens * (np.arange(most) < lengths), tf.int32)


def _whole(
    encode: Callable[[tf.Tensor], tf.Tensor], tokens: tf.Tensor, *, training: bool
) -> tf.Tensor:
    del training
    return encode(tokens)


def _function(kind: str, *, training: bool, parted: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    most = TEXTS[kind][2]
    table = tf.Variable(tf.random.stateless_normal([_ROWS, _DIM], [1, 2], stddev=0.05))
    field = text_encoders.TransformerField(WeightMaker(1), table, _CONFIG, most, "text")
    dropout = TrainingDropout(1, "query") if training else None

    @tf.function(autograph=False)
    def run(tokens: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            vectors = field(tokens, dropout)
        if training:
            gradients = tape.gradient(vectors, field.trainable_variables)
            return tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])
        return vectors

    text_encoders.in_parts_of_similar_length = in_parts_of_similar_length if parted else _whole
    traced = run.get_concrete_function(tf.TensorSpec([None, most], tf.int32))
    text_encoders.in_parts_of_similar_length = in_parts_of_similar_length
    return lambda tokens: traced(tokens).numpy()


def main() -> int:
    """Prints one line for each kind of texts and use."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for kind in TEXTS:
        for use, training, batch in (
            ("training", True, _BATCH),
            ("embed", False, _BATCH),
            ("one text", False, 1),
        ):
            batches = [planted(kind, batch, seed) for seed in range(4)]
            pair = {
                name: _function(kind, training=training, parted=name == "parts")
                for name in ("parts", "whole")
            }
            times = measure(
                {
                    name: lambda number, call=call, batches=batches: call(batches[number])
                    for name, call in pair.items()
                },
                num_queries=len(batches),
                rounds=arguments.rounds,
                clock=CLOCKS["processor"],
            )
            filled = float(np.mean([(one.numpy() > 0).mean() for one in batches]))
            whole, ratio = times["whole"].quantile(0.5), times["parts"].ratio(times["whole"])
            sys.stdout.write(
                f"{kind:9} {use:9} filled {filled:.2f}  whole {whole:8.2f} ms  ratio {ratio:.2f}\n"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
