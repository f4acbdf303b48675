"""Whether a step makes anything dense of the size of a large table."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrs_twotower.training.two_tower_model import TwoTowerModel


def sparse_gradients(model: TwoTowerModel, batch: dict[str, Any]) -> dict[str, bool]:
    """Whether the gradient of each table leaves the tape as `tf.IndexedSlices`, by name."""
    tables = {
        variable.name.removesuffix(":0"): variable
        for variable in model.trainable_variables
        if variable.name.startswith("tables.")
    }
    found: dict[str, bool] = {}

    def trace() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, training=True)
        for name, gradient in zip(tables, tape.gradient(loss, list(tables.values())), strict=True):
            found[name] = isinstance(gradient, tf.IndexedSlices)
        return loss

    tf.function(trace, autograph=False).get_concrete_function()
    return found


def dense_of_size(step: Callable[..., Any], num_rows: int, *arguments: Any) -> list[str]:
    """Types of the operations in a step's graph whose result has the rows of the table."""
    graph = tf.function(step, autograph=False).get_concrete_function(*arguments).graph
    return sorted(_in_graph(graph, num_rows))


def _in_graph(graph: Any, num_rows: int) -> list[str]:
    inner = graph._functions.values() if hasattr(graph, "_functions") else ()
    found = [name for function in inner for name in _in_graph(function.graph, num_rows)]
    for operation in graph.get_operations():
        for output in operation.outputs:
            shape = output.shape
            if output.dtype != tf.resource and shape.rank and shape[0] == num_rows:
                found.append(operation.type)
    return found
