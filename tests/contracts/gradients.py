"""Gradients of losses, by tape and by finite differences."""

import numpy as np
import tensorflow as tf


def gradient_of(loss, *inputs):
    """Returns d sum(loss) / d inputs as arrays; zeros for inputs that the loss does not use."""
    inputs = [tf.constant(value) for value in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = tf.reduce_sum(loss(*inputs))
    unconnected = tf.UnconnectedGradients.ZERO
    gradients = tape.gradient(total, inputs, unconnected_gradients=unconnected)
    return [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


def finite_differences(loss, *inputs, step=1e-6):
    """Returns the same gradients by central differences of float64 inputs."""
    inputs = [np.array(value, np.float64) for value in inputs]
    slopes = []
    for value in inputs:
        slope = np.zeros_like(value)
        for cell in np.ndindex(*value.shape):
            original, totals = value[cell], []
            for shifted in (original + step, original - step):
                value[cell] = shifted
                totals.append(np.sum(loss(*(tf.constant(v) for v in inputs))))
            value[cell] = original
            slope[cell] = (totals[0] - totals[1]) / (2 * step)
        slopes.append(slope)
    return slopes
