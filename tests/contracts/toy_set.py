"""A planted toy set that every loss must learn: the positive of query i is candidate i, of 50.

Both sides are tables of vectors that start in two clusters.
"""

import numpy as np
import tensorflow as tf

from tfrs_twotower.keras_api import keras

NUM_CANDIDATES = 50
DIM = 16


def recall_at_1_after_training(loss, *, steps=150):
    """Trains both tables by Adam on `loss(queries, candidates)`, unit vectors `[50, 16]`.

    Returns the share of queries whose candidate has the largest cosine.
    """
    random = np.random.default_rng(0)
    clusters = random.normal(size=(2, DIM))[np.arange(NUM_CANDIDATES) % 2]
    queries, candidates = (
        tf.Variable(clusters + 0.3 * random.normal(size=clusters.shape), dtype=tf.float32)
        for _ in range(2)
    )
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build([queries, candidates])

    def embed():
        return tf.math.l2_normalize(queries, axis=1), tf.math.l2_normalize(candidates, axis=1)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            mean = tf.reduce_mean(loss(*embed()))
        optimizer.minimize(mean, [queries, candidates], tape=tape)

    for _ in range(steps):
        step()
    best = tf.argmax(tf.matmul(*embed(), transpose_b=True), axis=1)
    return np.mean(best.numpy() == np.arange(NUM_CANDIDATES))
