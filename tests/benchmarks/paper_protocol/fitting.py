"""Fits the logistic regression and the towers."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import expit

from tests.benchmarks.paper_protocol.models import PairModel
from tests.benchmarks.paper_protocol.pairs import Pairs
from tfrs_twotower.keras_api import keras
from tfrs_twotower.metrics import auc

LEARNING_RATE = 1e-3
BATCH_SIZE = 256
MAX_EPOCHS = 10
PATIENCE = 5


def logistic_regression(
    features: NDArray[np.float64], labels: NDArray[np.floating], iterations: int = 25
) -> NDArray[np.float64]:
    """Weights of the features, then the intercept, by Newton's method.

    Args:
        features: `[rows, num_features]`.
        labels: `[rows]`, 0 or 1.
        iterations: steps.
    """
    x = np.column_stack([features, np.ones(len(features))])
    weights = np.zeros(x.shape[1])
    for _ in range(iterations):
        p = expit(x @ weights)
        hessian = (x * (p * (1.0 - p))[:, np.newaxis]).T @ x
        weights += np.linalg.solve(hessian, x.T @ (labels - p))
    return weights


def fit(model: PairModel, train: Pairs, validation: Pairs, seed: int) -> int:
    """Trains with Adam; keeps the weights of the epoch with the best AUC on validation.

    Returns:
        That epoch, from 1.
    """
    optimizer = keras.optimizers.Adam(LEARNING_RATE, jit_compile=False)
    optimizer.build(model.trainable_variables)
    random = np.random.default_rng(seed)
    labels = validation.labels.numpy()
    best_epoch, best_value = 0, -1.0
    kept = [v.numpy() for v in model.trainable_variables]

    @tf.function
    def run_epoch(batches: tf.Tensor) -> None:
        for rows in batches:
            batch = tf.nest.map_structure(lambda values: tf.gather(values, rows), train)  # noqa: B023
            with tf.GradientTape() as tape:
                loss = model.loss(batch)
            gradients = tape.gradient(loss, model.trainable_variables)
            pairs = zip(gradients, model.trainable_variables, strict=True)
            # The retrieval head of an IntTower takes no part in the FE score.
            optimizer.apply_gradients([(g, v) for g, v in pairs if g is not None])

    batch_size = min(BATCH_SIZE, len(train.labels))
    for epoch in range(1, MAX_EPOCHS + 1):
        order = random.permutation(len(train.labels))
        order = order[: len(order) // batch_size * batch_size]
        run_epoch(tf.constant(order.reshape(-1, batch_size)))
        value = auc(labels, model.logits(validation).numpy())
        if value > best_value:
            best_epoch, best_value = epoch, value
            kept = [v.numpy() for v in model.trainable_variables]
        if epoch - best_epoch >= PATIENCE:
            break
    for variable, weights in zip(model.trainable_variables, kept, strict=True):
        variable.assign(weights)
    return best_epoch
