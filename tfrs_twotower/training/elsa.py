"""ELSA, a linear autoencoder A A' - I with unit rows of A (Vancura et al., RecSys 2022)."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.keras_api import keras

_BATCH_SIZE = 128
_NUMBERS_AT_ONCE = 1 << 24
_LEARNING_RATE = 0.02


def elsa_loss(vectors: tf.Tensor, profiles: tf.Tensor) -> tf.Tensor:
    """Mean squared distance of each profile to its score x A A' - x, both of unit length.

    Args:
        vectors: `[num_candidates, rank]`, A with rows of any length but 0.
        profiles: `[batch, num_candidates]` of zeros and ones, x.

    Returns:
        A scalar.
    """
    unit = tf.math.l2_normalize(vectors, axis=1)
    scores = tf.matmul(tf.matmul(profiles, unit), unit, transpose_b=True) - profiles
    distances = tf.math.l2_normalize(scores, axis=1) - tf.math.l2_normalize(profiles, axis=1)
    return tf.reduce_mean(tf.reduce_sum(tf.square(distances), axis=1))


def elsa_vectors(
    chosen: sparse.csr_matrix, *, rank: int, epochs: int, seed: int
) -> NDArray[np.float32]:
    """Trains A by Adam on batches of profiles; memory is that of one batch of dense profiles.

    Args:
        chosen: `[num_queries, num_candidates]` of zeros and ones, X.
        rank: columns of A.
        epochs: passes over the profiles of two candidates and more.
        seed: of the start and of the order.

    Returns:
        `[num_candidates, rank]` unit rows; zeros for a candidate that nobody chose.
    """
    num_candidates = chosen.shape[1]
    random = np.random.default_rng(seed)
    start = random.standard_normal((num_candidates, rank)) / np.sqrt(rank)
    vectors = tf.Variable(start.astype(np.float32))
    profiles = chosen[np.flatnonzero(np.diff(chosen.indptr) > 1)]  # one alone predicts nothing
    size = max(1, min(_BATCH_SIZE, _NUMBERS_AT_ONCE // num_candidates))
    num_steps = epochs * -(-profiles.shape[0] // size)
    schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, max(1, num_steps))
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build([vectors])

    @tf.function(
        input_signature=[tf.TensorSpec([None, num_candidates], tf.float32)], autograph=False
    )
    def step(batch: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = elsa_loss(vectors, batch)
        optimizer.apply_gradients([(tape.gradient(loss, vectors), vectors)])

    for _ in range(epochs):
        order = random.permutation(profiles.shape[0])
        for first in range(0, len(order), size):
            step(tf.constant(profiles[order[first : first + size]].toarray(), tf.float32))
    unit = tf.math.l2_normalize(vectors, axis=1).numpy()
    never = np.asarray(chosen.sum(axis=0)).ravel() == 0
    return np.where(never[:, None], np.float32(0.0), unit)
