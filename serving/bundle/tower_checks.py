"""Checks the inputs and outputs of towers made elsewhere, before a bundle is built from them."""

import keyword
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from serving.bundle.warm_up import blank
from serving.graph import names
from tfrs_twotower.errors import BundleError
from tfrs_twotower.towers.protocol import Signature, TwoTowers

_TYPES = (tf.string, tf.int64, tf.float32)
_RESERVED = (*names.LISTS, names.EXAMPLES, names.CANDIDATE_IDS, "self")
_ATTRIBUTES = ("query_tower", "candidate_tower", "query_inputs", "candidate_inputs")


def check_towers(towers: TwoTowers, embedding_dim: int) -> None:
    """Checks the inputs of towers, and calls each once with a blank batch, as a warm-up does.

    Args:
        towers: the towers to check.
        embedding_dim: width of the candidates' vectors.

    Raises:
        BundleError: a part is missing, or a bundle cannot have an input or the output of a tower.
    """
    if not isinstance(towers, TwoTowers):
        missing = [name for name in _ATTRIBUTES if not hasattr(towers, name)]
        raise BundleError(
            f"export_bundle: {type(towers).__name__} has no {', '.join(missing)}; a bundle is made "
            f"from an object with {', '.join(_ATTRIBUTES)}. Add them, or give a "
            "serving.TowerPair(query_tower, query_inputs=...)."
        )
    _check_tower("query", towers.query_tower, towers.query_inputs, embedding_dim)
    if towers.candidate_tower is not None:
        _check_tower("candidate", towers.candidate_tower, towers.candidate_inputs, embedding_dim)


def _check_tower(
    side: str, tower: Callable[..., Any], inputs: Signature, embedding_dim: int
) -> None:
    if not inputs:
        raise BundleError(
            f"export_bundle: {side}_inputs is empty; it must name every tensor that the {side} "
            "tower takes, at least one. Give a dict of tf.TensorSpec."
        )
    for name, spec in inputs.items():
        _check_input(f"{side}_inputs", name, spec)
    raw = {name: tf.constant(blank(name, spec, 1)) for name, spec in inputs.items()}
    try:
        vectors = tower(raw)
    except Exception as cause:
        raise BundleError(
            f"export_bundle: the {side} tower cannot be called with {', '.join(inputs)} of one "
            f'blank {side} ("" and 0): {cause}. {side}_inputs must say what it takes, and it must '
            "take unknown values. A tower of one tensor, such as a Sequential, goes into a "
            "serving.TowerPair with a tf.TensorSpec instead of a dict."
        ) from cause
    shape, dtype = getattr(vectors, "shape", None), getattr(vectors, "dtype", None)
    kind = getattr(dtype, "name", type(vectors).__name__)
    if dtype != tf.float32 or tuple(shape or ()) != (1, embedding_dim):
        raise BundleError(
            f"export_bundle: the {side} tower gives {kind} of shape {shape} for one {side}; the "
            f"candidates' vectors ask for float32 of shape (1, {embedding_dim}). Embed the "
            "candidates with the same model, and cast to float32."
        )


def _check_input(where: str, name: str, spec: Any) -> None:
    usable = name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
    if not usable or name in _RESERVED:
        raise BundleError(
            f"export_bundle: {where} has the name {name!r}; an input is named like an ASCII Python "
            f"variable, and not {', '.join(_RESERVED)}. Rename it."
        )
    if not (
        isinstance(spec, tf.TensorSpec)
        and spec.dtype in _TYPES
        and spec.shape.rank in (1, 2)
        and spec.shape[0] is None
        and (spec.shape.rank == 1 or spec.shape[1])
    ):
        raise BundleError(
            f"export_bundle: {where}['{name}'] is {spec}; expected a tf.TensorSpec of shape [None] "
            f"or [None, width] and of type {', '.join(dtype.name for dtype in _TYPES)}. Servers "
            "batch along the first dimension; fix the width, and pad shorter lists."
        )
