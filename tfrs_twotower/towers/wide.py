"""A linear model and popularity in the vectors of the first stage: the wide part beside the deep.

With the deep towers' vectors u and v, the sum x F of a query's history (`HistorySum`), the linear
vector H_j of a candidate and its log-counts p_j,

    query = [a u, sum_h w_h x_h F, c],    candidate = [v, H_j, p_j],

so that one inner product is a <u, v> + sum_h w_h <x_h F, H_j> + <c, p_j>. The weights a, w, c are
those of known queries or those of queries that are new: without a known candidate in a history and
without a known id, so that popularity and other features have to answer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.data.assets import Assets
from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.layers import bert
from tfrs_twotower.layers.history_sum import HistorySum
from tfrs_twotower.specs import NUM_SPECIAL_ROWS, UNKNOWN_ROW, FeatureDeclarations, IdFeature
from tfrs_twotower.towers.tower import Tower, TowerOutput, Towers

KNOWN, NEW = 0, 1
"""Rows of the weights."""


class WideShape(NamedTuple):
    """What a wide part consists of, for `architecture.json`."""

    half_lives: tuple[float | None, ...]
    """One weight of the linear model for each; empty without a linear model."""
    rank: int
    """Dimensions of the linear model; 0 without one."""
    num_counts: int
    """Dimensions of popularity."""

    @property
    def dim(self) -> int:
        """Dimensions that it adds to the vectors."""
        return self.rank + self.num_counts

    @property
    def num_weights(self) -> int:
        """Weights of a query: of the deep part, of each half-life, of each count."""
        return 1 + len(self.half_lives) + self.num_counts


class WidePart(NamedTuple):
    """The numbers of a wide part."""

    shape: WideShape
    history: npt.NDArray[np.float32]
    """`[2 + vocabulary size, rank]` F, by token."""
    candidates: npt.NDArray[np.float32]
    """`[2 + vocabulary size, rank + num_counts]` [H, p], by token of the candidate's id."""
    weights: npt.NDArray[np.float32]
    """`[2, num_weights]`, of known queries and of new ones."""

    @classmethod
    def empty(cls, shape: WideShape, num_tokens: int) -> "WidePart":
        """Zeros in this shape, to be loaded over."""
        history = np.zeros((num_tokens, shape.rank), np.float32)
        candidates = np.zeros((num_tokens, shape.dim), np.float32)
        return cls(shape, history, candidates, np.zeros((2, shape.num_weights), np.float32))


def known_queries(tokens: Tokens, features: Sequence[str]) -> tf.Tensor:
    """`[batch]` whether a query has a known value in one of these histories or ids."""
    known = [
        tf.reduce_any(tf.reshape(tokens[name], [tf.shape(tokens[name])[0], -1]) > UNKNOWN_ROW, 1)
        for name in features
    ]
    if not known:
        return tf.zeros(tf.shape(next(iter(tokens.values())))[:1], tf.bool)
    return tf.reduce_any(tf.stack(known), axis=0)


def identifying_features(spec: FeatureDeclarations) -> tuple[str, ...]:
    """Names of the query features by which the training window may know a query."""
    ids = [feature for feature in spec.query.features if isinstance(feature, IdFeature)]
    return tuple(feature.name for feature in (*spec.histories, *ids))


class _WideTower(Tower):
    """A deep tower whose embeddings are longer by a wide part; its other outputs are kept."""

    unit_length = False

    def __init__(self, deep: Tower, more: int, name: str) -> None:
        super().__init__(name=name)
        self.deep = deep
        self.inputs = deep.inputs
        self.embedding_dim = deep.embedding_dim + more

    def encode_fields(self, tokens: Tokens, training: bool = False) -> tf.Tensor:
        """Those of the deep tower."""
        return self.deep.encode_fields(tokens, training)


class WideQueryTower(_WideTower):
    """The query side, `[a u, sum_h w_h x_h F, c]`."""

    def __init__(self, deep: Tower, part: WidePart, spec: FeatureDeclarations) -> None:
        """Adds a part to a query tower."""
        super().__init__(deep, part.shape.dim, "wide_query")
        self._shape = part.shape
        self._identifying = identifying_features(spec)
        self.history: HistorySum | None = None
        if part.shape.rank:
            names = [feature.name for feature in spec.histories]
            self.history = HistorySum(names, part.shape.half_lives, part.history, "wide.history")
        self._weights = tf.Variable(part.weights, trainable=False, name="wide.weights")

    def encode(self, tokens: Tokens, training: bool = False) -> TowerOutput:
        """The deep tower's output with the longer embedding."""
        output = self.deep.encode(tokens, training)
        known = known_queries(tokens, self._identifying)
        weights = tf.where(known[:, tf.newaxis], self._weights[KNOWN], self._weights[NEW])
        num_lives = len(self._shape.half_lives)
        parts = [weights[:, :1] * output.embedding]
        if self.history is not None:
            of_lives = weights[:, 1 : 1 + num_lives]
            parts.append(tf.einsum("bh,bhr->br", of_lives, self.history(tokens)))
        parts.append(weights[:, 1 + num_lives :])
        return output._replace(embedding=tf.concat(parts, axis=1))


class WideCandidateTower(_WideTower):
    """The candidate side, `[v, H_j, p_j]`; a new candidate has H = 0 and a count of 0."""

    def __init__(self, deep: Tower, part: WidePart, id_feature: IdFeature) -> None:
        """Adds a part to a candidate tower."""
        super().__init__(deep, part.shape.dim, "wide_candidate")
        self._id = id_feature.name
        self._vectors = tf.Variable(part.candidates, trainable=False, name="wide.candidates")

    def encode(self, tokens: Tokens, training: bool = False) -> TowerOutput:
        """The deep tower's output with the longer embedding."""
        output = self.deep.encode(tokens, training)
        # Padding, of a candidate without an id, is as unknown as row 1 is.
        own = tf.gather(self._vectors, tf.maximum(tokens[self._id], UNKNOWN_ROW))
        return output._replace(embedding=tf.concat([output.embedding, own], axis=1))


class WideTowers(Towers):
    """Trained towers with a wide part on both sides. They are served, not trained."""

    def __init__(self, deep: Towers, part: WidePart, spec: FeatureDeclarations) -> None:
        """Adds a part to both towers; the spec has a candidate id with a vocabulary."""
        id_feature = spec.candidate_id_feature
        assert id_feature is not None
        super().__init__(
            WideQueryTower(deep.query, part, spec),
            WideCandidateTower(deep.candidate, part, id_feature),
        )
        self.deep = deep
        self.shape = part.shape

    @property
    def pretrained_shapes(self) -> dict[str, bert.BertShape]:
        """Those of the deep towers."""
        return self.deep.pretrained_shapes

    def refresh_derived_state(self, corpus_tokens: Tokens) -> None:
        """See `Towers`."""
        self.deep.refresh_derived_state(corpus_tokens)


def num_tokens(spec: FeatureDeclarations, assets: Assets) -> int:
    """Rows of the tables of a wide part."""
    feature = spec.candidate_id_feature
    return NUM_SPECIAL_ROWS + (len(assets.vocabulary(feature.vocabulary_name)) if feature else 0)
