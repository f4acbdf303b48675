"""The protocol of two towers, and the adapters of Keras models and modules to it.

Embedding, indexing and bundles need nothing of towers but `TwoTowers`. `TowerPair` makes one of two
models; the towers of `build_towers` implement it themselves.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import tensorflow as tf

from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.keras_api import keras
from tfrs_twotower.towers.tower import Tower, TowerOutput, Towers

Embed: TypeAlias = Callable[[RawBatch], tf.Tensor]
"""Named tensors `[batch, ...]` to embeddings `[batch, embedding_dim]`."""
Signature: TypeAlias = Mapping[str, tf.TensorSpec]
"""Names, shapes `[None, ...]` and types of a tower's inputs."""


@runtime_checkable
class TwoTowers(Protocol):
    """A query tower and a candidate tower that embed into one space, with their inputs.

    A tower is a Keras model, a `tf.Module`, or another callable that tracks its variables, because
    training takes its weights from there. It is called with a dict of tensors, one for each of its
    inputs, and returns `[batch, embedding_dim]`. The score of a pair is the inner product of its
    embeddings; nothing normalises them.

    A bundle also requires inputs that are `[None]` or `[None, width]`, of type string, int64 or
    float32, with names that are ASCII Python variables; an input that a request does not give
    arrives as "", -1 or NaN.

    `TowerPair` is such an object, for two separate models, or models that take a tensor instead of
    a dict.
    """

    @property
    def query_tower(self) -> Embed:
        """Embeds queries."""

    @property
    def candidate_tower(self) -> Any:
        """Embeds candidates; None if candidates are given as vectors, which cannot be trained."""

    @property
    def query_inputs(self) -> Signature:
        """Inputs of `query_tower`."""

    @property
    def candidate_inputs(self) -> Signature:
        """Inputs of `candidate_tower`; empty without a candidate tower."""


class TowerPair(tf.Module):
    """Two callables, such as Keras models or `tf.Module`s, as `TwoTowers`."""

    def __init__(
        self,
        query_tower: Callable[..., Any],
        candidate_tower: Callable[..., Any] | None = None,
        *,
        query_inputs: Signature | tf.TensorSpec,
        candidate_inputs: Signature | tf.TensorSpec | None = None,
    ) -> None:
        """Keeps both towers and their inputs.

        Args:
            query_tower: embeds queries.
            candidate_tower: embeds candidates; None if their vectors are given.
            query_inputs: inputs of `query_tower`: a dict of named tensors, or one tensor. One
                tensor is a `tf.TensorSpec` with a name, which is its name in requests.
            candidate_inputs: inputs of `candidate_tower`, in the same form.

        Raises:
            ValueError: an input has no name.
        """
        super().__init__(name="tower_pair")
        self.query_inputs = _named(query_inputs, "query_inputs")
        self.candidate_inputs = _named(candidate_inputs or {}, "candidate_inputs")
        self.query_tower = _as_embed(query_tower, query_inputs)
        self.candidate_tower: Any = _as_embed(candidate_tower, candidate_inputs)


def as_towers(towers: TwoTowers) -> Towers:
    """The same towers in the form that training takes.

    Raises:
        ValueError: a tower does not give `[batch, embedding_dim]`, the two give vectors of
            different lengths, or there is no candidate tower.
    """
    if isinstance(towers, Towers):
        return towers
    if towers.candidate_tower is None:
        raise ValueError("there is no candidate tower; training needs both towers")
    return _OwnTowers(towers)


class _OneTensor(tf.Module):
    """A model of one tensor, called with the named tensors of a batch."""

    def __init__(self, model: Callable[..., Any], name: str) -> None:
        super().__init__()
        self._model = model
        self._input = name

    def __call__(self, raw: RawBatch, training: bool = False) -> tf.Tensor:
        """Embeds a batch."""
        return _call(self._model, raw[self._input], training)


class _NamedTensors(tf.Module):
    """The inputs of a user's tower: its raw features are its tokens."""

    def __init__(self, signature: Signature, name: str) -> None:
        super().__init__(name=f"{name}_inputs")
        self.features = ()
        self.signature = dict(signature)

    def __call__(self, raw: RawBatch) -> Tokens:
        """The inputs of the signature out of a batch, in their types."""
        absent = [name for name in self.signature if name not in raw]
        if absent:
            raise ValueError(
                f"{self.name}: the batch lacks {', '.join(absent)}; found {', '.join(sorted(raw))}."
            )
        return {
            name: tf.cast(values, spec.dtype) if values.dtype != spec.dtype else values
            for name, spec in self.signature.items()
            for values in [tf.convert_to_tensor(raw[name])]
        }


class _OwnTower(Tower):
    """A tower around a user's model. It has one embedding and no parts."""

    fields = ()
    unit_length = False

    def __init__(self, embed: Embed, signature: Signature, name: str) -> None:
        super().__init__(name=name)
        self.inputs = _NamedTensors(signature, name)
        self._embed = embed
        # A Keras model makes its weights when it is first called.
        blank = {key: _blank(spec) for key, spec in signature.items()}
        embedding = tf.convert_to_tensor(embed(blank))
        if embedding.shape.rank != 2 or not embedding.dtype.is_floating:
            raise ValueError(
                f"the {name} tower gives {embedding.dtype.name} of shape {embedding.shape} for a "
                "batch of one; a tower gives floating-point numbers [batch, embedding_dim]"
            )
        self.embedding_dim = int(embedding.shape[1])

    def encode(self, tokens: Tokens, training: bool = False) -> TowerOutput:
        """The embedding of a batch."""
        return TowerOutput(tf.cast(_call(self._embed, tokens, training), tf.float32))


class _OwnTowers(Towers):
    def __init__(self, pair: TwoTowers) -> None:
        query = _OwnTower(pair.query_tower, pair.query_inputs, "query")
        candidate = _OwnTower(pair.candidate_tower, pair.candidate_inputs, "candidate")
        if query.embedding_dim != candidate.embedding_dim:
            raise ValueError(
                f"the query tower gives vectors of {query.embedding_dim} numbers and the candidate "
                f"tower of {candidate.embedding_dim}; both must embed into the same space"
            )
        super().__init__(query, candidate)
        # If the towers are methods of an object, the object owns the weights.
        self._pair = pair


def _as_embed(model: Any, inputs: Signature | tf.TensorSpec | None) -> Any:
    return _OneTensor(model, inputs.name) if isinstance(inputs, tf.TensorSpec) else model


def _named(inputs: Signature | tf.TensorSpec, argument: str) -> dict[str, tf.TensorSpec]:
    if not isinstance(inputs, tf.TensorSpec):
        return dict(inputs)
    if not inputs.name:
        raise ValueError(
            f"{argument} is {inputs}, which has no name; a tower of one tensor needs one, such as "
            'tf.TensorSpec([None], tf.string, name="user_id")'
        )
    return {inputs.name: inputs}


def _call(model: Callable[..., Any], inputs: Any, training: bool) -> tf.Tensor:
    """Calls a model, with `training` if it takes the argument."""
    called = model.call if isinstance(model, keras.layers.Layer) else model
    takes_training = "training" in inspect.signature(called).parameters
    return model(inputs, training=training) if takes_training else model(inputs)


def _blank(spec: tf.TensorSpec) -> tf.Tensor:
    shape = [1 if size is None else size for size in spec.shape]
    return tf.fill(shape, "") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)
