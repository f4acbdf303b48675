"""What a bundle needs of two towers: functions from named inputs to vectors, and those inputs.

A candidate's score is the inner product of its vector with the query's, and nothing here normalises
either. Who wants cosines normalises inside both towers.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import tensorflow as tf

from serving.graph.signatures import EMBEDDING
from tfrs_twotower.data.raw_inputs import RawBatch, raw_signature
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.tower import Towers

Inputs: TypeAlias = Mapping[str, tf.TensorSpec]
"""Names, shapes and types of what a tower takes."""


@runtime_checkable
class TwoTowers(Protocol):
    """Two towers that a bundle can be made from: any object with these four attributes.

    A tower is a Keras model, a `tf.Module`, or another callable that tracks its variables. It is
    called with a dict of tensors, one for each of its inputs, and returns `[batch, embedding_dim]`
    float32.

    Inputs are `tf.TensorSpec`s of shape `[None]`, one value for each query, or `[None, width]`; of
    type string, int64 or float32. A value that a request does not give arrives as "", -1 or NaN.
    Names are those of ASCII Python variables.

    `TowerPair` is such an object, for towers that lie apart or take a tensor instead of a dict.
    """

    @property
    def query_tower(self) -> Any:
        """The tower that answers requests."""

    @property
    def candidate_tower(self) -> Any:
        """The tower that made the candidates' vectors; None leaves it out of the bundle."""

    @property
    def query_inputs(self) -> Inputs:
        """What `query_tower` takes."""

    @property
    def candidate_inputs(self) -> Inputs:
        """What `candidate_tower` takes; empty without one."""


class TowerPair(tf.Module):
    """Two callables, such as Keras models or `tf.Module`s, as `TwoTowers`."""

    def __init__(
        self,
        query_tower: Callable[..., Any],
        candidate_tower: Callable[..., Any] | None = None,
        *,
        query_inputs: Inputs | tf.TensorSpec,
        candidate_inputs: Inputs | tf.TensorSpec | None = None,
    ) -> None:
        """Keeps both towers and what they take.

        Args:
            query_tower: embeds queries.
            candidate_tower: embeds candidates; a bundle can do without.
            query_inputs: what `query_tower` takes: a dict of named tensors, or one tensor. One
                tensor is a `tf.TensorSpec` with a name, which is its name in requests.
            candidate_inputs: the same of `candidate_tower`.

        Raises:
            ValueError: an input has no name.
        """
        super().__init__(name="tower_pair")
        self.query_tower, self.query_inputs = _with_names(query_tower, query_inputs)
        self.candidate_tower, self.candidate_inputs = _with_names(
            candidate_tower, candidate_inputs or {}
        )


class _OneTensor(tf.Module):
    """A model of one tensor, called with a dict of it."""

    def __init__(self, model: Callable[..., Any], name: str) -> None:
        super().__init__()
        self._model = model
        self._input = name

    def __call__(self, inputs: RawBatch) -> tf.Tensor:
        return self._model(inputs[self._input])


def _with_names(tower: Any, inputs: Inputs | tf.TensorSpec) -> tuple[Any, Inputs]:
    if not isinstance(inputs, tf.TensorSpec):
        return tower, dict(inputs)
    if not inputs.name:
        raise ValueError(
            f"{inputs} has no name; a tower of one tensor needs one, such as "
            'tf.TensorSpec([None], tf.string, name="user_id")'
        )
    return _OneTensor(tower, inputs.name), {inputs.name: inputs}


def trained_towers(towers: Towers, spec: FeatureSpec) -> TowerPair:
    """The towers of this package, which take the raw features of a feature spec."""
    return TowerPair(
        towers.query,
        towers.candidate,
        query_inputs=raw_signature(spec.query.features),
        candidate_inputs=raw_signature(spec.candidate.features),
    )


class _GivenVector(tf.Module):
    """Stands for a query tower where a request brings the query's vector."""

    def __call__(self, inputs: RawBatch) -> tf.Tensor:
        return tf.identity(inputs[EMBEDDING])


def query_vectors(embedding_dim: int) -> TowerPair:
    """No towers: the one input is the query's vector, `embedding` `[batch, embedding_dim]`."""
    taken = tf.TensorSpec([None, embedding_dim], tf.float32, name=EMBEDDING)
    return TowerPair(_GivenVector(), query_inputs={EMBEDDING: taken})
