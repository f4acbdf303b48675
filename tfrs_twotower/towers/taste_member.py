"""A member of the pre-ranker that knows tastes: which values of features a history prefers.

A tower that adds up a history can only learn this from many examples, and only roughly: its scores
are bounded, and linear in the shares of the values, while chances are products of them.

tastes/
    architecture.json       feature spec, names of the features, strength
    values.npz              `of_tokens` int32 [2 + vocabulary size, width], values by token;
                            `columns` int32 [width], the feature of each column;
                            `priors` float32 [1 + number of values]
    candidate_values.npy    [num_candidates, width] int32, in row order
    vocabularies/  statistics.json
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.artifacts import layout
from tfrs_twotower.data.assets import Assets, load_assets
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.data.stored_arrays import load_array, load_arrays
from tfrs_twotower.features.tower_inputs import Tokens, TowerInputs
from tfrs_twotower.specs import PADDING_ROW, UNKNOWN_ROW, FeatureSpec
from tfrs_twotower.towers import linear_member

IntArray = npt.NDArray[np.int32]


class TasteMember(tf.Module):
    """Scores how much more often a history has a candidate's values than all events have them.

    The score of a feature is the mean over the candidate's values v of

        log( (n_v + s p_v) / ((n + s) p_v) )  =  log(1 + n_v / (s p_v)) - log(1 + n / s)

    with n_v of the n candidates in the history that have the value, the prior share p_v and its
    strength s (Dirichlet smoothing). A candidate with m values of a feature counts 1 / m for each;
    one that occurs repeatedly, in one history or in several, counts once. The score is 0 for a
    candidate without a value, and after a history without one.

    The values of all features are numbered from 1 on; 0 stands for no value. A candidate is a few
    of these numbers, so that memory does not grow with the number of values.

    Attributes:
        inputs: turns raw features into the tokens of the histories.
        names: of the features.
        strength: s, in events.
        of_tokens: `[2 + vocabulary size, width]` values of the candidate behind each token.
        columns: `[width]` the feature, by its place in `names`, that each column has values of.
        priors: `[1 + number of values]`, p of every value; that of no value is not used.
        candidate_values: `[num_candidates, width]`, in row order.
    """

    def __init__(
        self,
        inputs: TowerInputs,
        names: Sequence[str],
        strength: float,
        of_tokens: IntArray,
        columns: IntArray,
        priors: npt.NDArray[np.float32],
        candidate_values: IntArray,
    ) -> None:
        """Joins the parts."""
        super().__init__(name="tastes")
        self.inputs = inputs
        self.names, self.strength, self.columns = tuple(names), strength, columns
        self.of_tokens = tf.Variable(of_tokens, trainable=False, name="values_of_tokens")
        self.priors = tf.Variable(priors, trainable=False, name="priors")
        self.candidate_values = tf.Variable(candidate_values, trainable=False, name="values")
        self._feature_of_column = np.eye(len(self.names), dtype=np.float32)[columns]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the scores: `taste_brand` and so on."""
        return tuple(f"taste_{name}" for name in self.names)

    def with_candidates(self, candidate_values: IntArray) -> "TasteMember":
        """The same member over other candidates."""
        return TasteMember(
            self.inputs,
            self.names,
            self.strength,
            self.of_tokens.numpy(),
            self.columns,
            self.priors.numpy(),
            candidate_values,
        )

    def query_heads(self, raw: RawBatch) -> tf.Tensor:
        """Returns `[batch, length]` for raw query features."""
        return self.encode(self.inputs(raw))

    def encode(self, tokens: Tokens) -> tf.Tensor:
        """Returns `[batch, length]` int32 tokens of the distinct candidates; 0 pads."""
        histories = [tf.cast(tokens[feature.name], tf.int32) for feature in self.inputs.features]
        token = tf.sort(tf.concat(histories, axis=1), axis=1)
        before = tf.pad(token[:, :-1], [[0, 0], [1, 0]], constant_values=-1)
        counts = tf.logical_and(token != before, token > UNKNOWN_ROW)
        return tf.where(counts, token, PADDING_ROW)

    def scores(self, query_heads: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Returns `[batch, num_features, n]` for candidates at rows `[batch, n]`, all >= 0."""
        weights = self._feature_of_column
        return tf.einsum("bnw,wf->bfn", self._lifts(query_heads, rows), weights)

    def weighted(self, query_heads: tf.Tensor, rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Returns `[batch, n]`, the sum of `scores` with weights `[num_features]`."""
        of_columns = tf.linalg.matvec(self._feature_of_column, weights)
        return tf.linalg.matvec(self._lifts(query_heads, rows), of_columns)

    def _lifts(self, query_heads: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """`[batch, n, width]` log-lift of each of the candidates' values, times its share."""
        chosen = tf.gather(self.of_tokens, query_heads)
        chosen_shares = self._shares(chosen)
        of_features = tf.einsum("blw,wf->bf", chosen_shares, self._feature_of_column)
        n = tf.matmul(of_features, self._feature_of_column, transpose_b=True)[:, tf.newaxis]
        own = tf.gather(self.candidate_values, rows)
        n_v = tf.gather(self._counts(chosen, chosen_shares), own, batch_dims=1)
        lifts = tf.math.log1p(n_v / (self.strength * tf.gather(self.priors, own)))
        return self._shares(own) * (lifts - tf.math.log1p(n / self.strength))

    def _shares(self, values: tf.Tensor) -> tf.Tensor:
        """`[..., width]` 1 divided by the number of values of the same feature; 0 for no value."""
        is_value = tf.cast(values > 0, tf.float32)
        of_features = tf.einsum("...w,wf->...f", is_value, self._feature_of_column)
        numbers = tf.einsum("...f,wf->...w", of_features, self._feature_of_column)
        return is_value / tf.maximum(numbers, 1.0)

    def _counts(self, values: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
        """`[batch, 1 + number of values]` sums of the shares `[batch, length, width]` by value."""
        batch, size = tf.shape(values)[0], int(self.priors.shape[0])
        places = values + size * tf.range(batch)[:, tf.newaxis, tf.newaxis]
        sums = tf.math.unsorted_segment_sum(shares, places, batch * size)
        return tf.reshape(sums, [batch, size])


def save_taste_member(
    member: TasteMember, spec: FeatureSpec, assets: Assets, directory: Path
) -> None:
    """Writes everything that `load_taste_member` needs into an existing directory."""
    facts = {"features": list(member.names), "strength": member.strength}
    linear_member.save_history_side(facts, spec, assets, directory)
    np.savez(
        directory / layout.TASTE_VALUES,
        of_tokens=member.of_tokens.numpy(),
        columns=member.columns,
        priors=member.priors.numpy(),
    )
    _save_candidates(member, directory)


def copy_taste_member(member: TasteMember, source: Path, destination: Path) -> None:
    """Writes a member whose candidates have changed; the other files come from `source`."""
    destination.mkdir()
    linear_member.copy_history_side(source, destination)
    shutil.copy2(source / layout.TASTE_VALUES, destination / layout.TASTE_VALUES)
    _save_candidates(member, destination)


def _save_candidates(member: TasteMember, directory: Path) -> None:
    values = member.candidate_values.numpy()
    np.save(directory / layout.CANDIDATE_VALUES, values, allow_pickle=False)


def load_taste_member(directory: Path) -> TasteMember:
    """Rebuilds a saved member.

    Raises:
        MissingArtifact: a file is not there.
        CorruptArtifact: a file cannot be read, or the parts do not fit.
    """
    with linear_member.told_what_to_train(directory):
        architecture = json.loads((directory / layout.ARCHITECTURE).read_text(encoding="utf-8"))
        spec = FeatureSpec.model_validate(architecture["spec"])
        names = tuple(str(name) for name in architecture["features"])
        strength = float(architecture["strength"])
        tables = load_arrays(directory / layout.TASTE_VALUES)
        of_tokens, columns, priors = tables["of_tokens"], tables["columns"], tables["priors"]
        candidate_values = load_array(directory / layout.CANDIDATE_VALUES)
        assets = load_assets(directory)
        num_tokens = linear_member.num_tokens_of(spec, assets)
        width = len(columns)
        if of_tokens.shape != (num_tokens, width) or candidate_values.shape[1:] != (width,):
            raise ValueError(
                f"tables of {width} values for {num_tokens} tokens are of shape {of_tokens.shape} "
                f"and {candidate_values.shape}"
            )
        largest = max(of_tokens.max(initial=0), candidate_values.max(initial=0))
        if largest >= len(priors):
            raise ValueError(f"{largest} values are in use, {len(priors) - 1} are known")
    inputs = linear_member.history_inputs(spec, assets)
    return TasteMember(inputs, names, strength, of_tokens, columns, priors, candidate_values)
