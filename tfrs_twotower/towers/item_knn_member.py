"""A member of the pre-ranker that looks at the neighbours of a history's latest candidates.

item_knn/
    architecture.json       feature spec, half-lives, number of latest candidates
    neighbours.npz          `tokens` int32, `similarities` float32 [2 + vocabulary size, n]
    candidate_tokens.npy    [num_candidates] int32 token of each candidate's id, in row order
    vocabularies/  statistics.json
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from scipy import sparse

from tfrs_twotower.artifacts import layout
from tfrs_twotower.data.assets import Assets, load_assets
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.data.stored_arrays import load_array, load_arrays
from tfrs_twotower.features.tower_inputs import Tokens, TowerInputs
from tfrs_twotower.specs import PADDING_ROW, UNKNOWN_ROW, FeatureSpec
from tfrs_twotower.towers import linear_member

_NO_TOKEN = -1
IntArray = npt.NDArray[np.int32]


class ItemKnnMember(tf.Module):
    """Sums the similarities of a candidate to the latest candidates of a history.

    A candidate that occurs repeatedly, in one history or in several, counts where it is latest.
    With half-life T, the candidate at place p (0 is the latest) has the weight 2^(-p/T). Both sides
    are compared by token, so that memory is that of n neighbours of each candidate, and a corpus
    can change without the neighbours.

    Attributes:
        inputs: turns raw features into the tokens of the histories.
        last: latest candidates that are looked at.
        half_lives: in candidates; None weighs all alike.
        neighbours: `[2 + vocabulary size, n]` tokens of the neighbours, -1 for none.
        similarities: `[2 + vocabulary size, n]` of these neighbours.
        candidate_tokens: `[num_candidates]`, in row order; 0 for a candidate that is not known.
    """

    def __init__(
        self,
        inputs: TowerInputs,
        last: int,
        half_lives: Sequence[float | None],
        neighbours: IntArray,
        similarities: npt.NDArray[np.float32],
        candidate_tokens: IntArray,
    ) -> None:
        """Joins the parts."""
        super().__init__(name="item_knn")
        self.inputs = inputs
        self.last = last
        self.half_lives = tuple(half_lives)
        self.neighbours = tf.Variable(neighbours, trainable=False, name="neighbours")
        self.similarities = tf.Variable(similarities, trainable=False, name="similarities")
        self.candidate_tokens = tf.Variable(candidate_tokens, trainable=False, name="tokens")

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the scores: `item_knn_all`, `item_knn_2` and so on."""
        lives = ("all" if life is None else f"{life:g}" for life in self.half_lives)
        return tuple(f"item_knn_{life}" for life in lives)

    def with_candidates(self, candidate_tokens: IntArray) -> "ItemKnnMember":
        """The same member over other candidates."""
        return ItemKnnMember(
            self.inputs,
            self.last,
            self.half_lives,
            self.neighbours.numpy(),
            self.similarities.numpy(),
            candidate_tokens,
        )

    def query_heads(self, raw: RawBatch) -> tf.Tensor:
        """Returns `[batch, last]` for raw query features."""
        return self.encode(self.inputs(raw))

    def encode(self, tokens: Tokens) -> tf.Tensor:
        """Returns `[batch, last]` int32 tokens of distinct candidates, the latest first; 0 pads."""
        histories = [tf.cast(tokens[feature.name], tf.int64) for feature in self.inputs.features]
        longest = max(history.shape[1] for history in histories)
        # After sorting, the events of one candidate form a run, its most recent event first.
        keys = [history * longest + np.arange(history.shape[1]) for history in histories]
        key = tf.sort(tf.concat(keys, axis=1), axis=1)
        token, position = key // longest, key % longest
        before = tf.pad(token[:, :-1], [[0, 0], [1, 0]], constant_values=_NO_TOKEN)
        counts = tf.logical_and(token != before, token > UNKNOWN_ROW)
        num_tokens = int(self.neighbours.shape[0])
        by_time = tf.where(counts, position * num_tokens + token, tf.int64.max)
        by_time = tf.sort(by_time, axis=1)[:, : self.last]
        padding = tf.constant(PADDING_ROW, tf.int64)
        latest = tf.where(by_time == tf.int64.max, padding, by_time % num_tokens)
        short = max(0, self.last - int(key.shape[1]))
        return tf.cast(tf.pad(latest, [[0, 0], [0, short]]), tf.int32)

    def scores(self, query_heads: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Returns `[batch, num_half_lives, n]` for candidates at rows `[batch, n]`, all >= 0."""
        return tf.einsum("lh,bnl->bhn", self._weights(), self._similar(query_heads, rows))

    def weighted(self, query_heads: tf.Tensor, rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Returns `[batch, n]`, the sum of `scores` with weights `[num_half_lives]`."""
        of_places = tf.linalg.matvec(self._weights(), weights)
        return tf.linalg.matvec(self._similar(query_heads, rows), of_places)

    def _weights(self) -> tf.Tensor:
        """`[last, num_half_lives]`."""
        lives = np.array([np.inf if life is None else life for life in self.half_lives])
        return tf.constant(0.5 ** (np.arange(self.last)[:, None] / lives), tf.float32)

    def _similar(self, query_heads: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """`[batch, n, last]` similarity of each candidate to each of the latest ones."""
        own = tf.gather(self.candidate_tokens, rows)[:, :, tf.newaxis, tf.newaxis]
        near = tf.gather(self.neighbours, query_heads)[:, tf.newaxis]
        similar = tf.gather(self.similarities, query_heads)[:, tf.newaxis]
        return tf.reduce_sum(tf.where(own == near, similar, 0.0), axis=3)


def neighbours_by_token(
    similar: sparse.csr_matrix, row_of_token: IntArray, num_neighbours: int
) -> tuple[IntArray, npt.NDArray[np.float32], IntArray]:
    """Tables of an `ItemKnnMember` from `closed_form.neighbours.cosine_neighbours`.

    Args:
        similar: `[num_candidates, num_candidates]`, the nearest first in every row.
        row_of_token: `[2 + vocabulary size]` rows of the corpus, -1 for none.
        num_neighbours: columns of the tables.

    Returns:
        Neighbours and similarities `[2 + vocabulary size, num_neighbours]`, and the tokens
        `[num_candidates]` of the candidates. A candidate without a token is nobody's neighbour.
    """
    known = np.flatnonzero(row_of_token >= 0)
    token_of_row = np.full(similar.shape[0], PADDING_ROW, np.int32)
    token_of_row[row_of_token[known]] = known
    lengths = np.diff(similar.indptr)
    owners = token_of_row[np.repeat(np.arange(len(lengths)), lengths)]
    places = np.arange(len(owners)) - np.repeat(similar.indptr[:-1], lengths)
    tokens = token_of_row[similar.indices]
    kept = (owners > UNKNOWN_ROW) & (tokens > UNKNOWN_ROW) & (places < num_neighbours)
    neighbours = np.full((len(row_of_token), num_neighbours), _NO_TOKEN, np.int32)
    similarities = np.zeros((len(row_of_token), num_neighbours), np.float32)
    neighbours[owners[kept], places[kept]] = tokens[kept]
    similarities[owners[kept], places[kept]] = similar.data[kept]
    return neighbours, similarities, token_of_row


def save_item_knn_member(
    member: ItemKnnMember, spec: FeatureSpec, assets: Assets, directory: Path
) -> None:
    """Writes everything that `load_item_knn_member` needs into an existing directory."""
    facts = {"half_lives": list(member.half_lives), "last": member.last}
    linear_member.save_history_side(facts, spec, assets, directory)
    np.savez(
        directory / layout.NEIGHBOURS,
        tokens=member.neighbours.numpy(),
        similarities=member.similarities.numpy(),
    )
    save_candidates(member, directory)


def copy_item_knn_member(member: ItemKnnMember, source: Path, destination: Path) -> None:
    """Writes a member whose candidates have changed; the other files come from `source`."""
    destination.mkdir()
    linear_member.copy_history_side(source, destination)
    shutil.copy2(source / layout.NEIGHBOURS, destination / layout.NEIGHBOURS)
    save_candidates(member, destination)


def save_candidates(member: ItemKnnMember, directory: Path) -> None:
    """Writes the tokens of the candidates."""
    tokens = member.candidate_tokens.numpy()
    np.save(directory / layout.CANDIDATE_TOKENS, tokens, allow_pickle=False)


def load_item_knn_member(directory: Path) -> ItemKnnMember:
    """Rebuilds a saved member.

    Raises:
        MissingArtifact: a file is not there.
        CorruptArtifact: a file cannot be read, or the parts do not fit.
    """
    with linear_member.told_what_to_train(directory):
        architecture = json.loads((directory / layout.ARCHITECTURE).read_text(encoding="utf-8"))
        spec = FeatureSpec.model_validate(architecture["spec"])
        half_lives = [None if life is None else float(life) for life in architecture["half_lives"]]
        last = int(architecture["last"])
        tables = load_arrays(directory / layout.NEIGHBOURS)
        neighbours, similarities = tables["tokens"], tables["similarities"]
        tokens = load_array(directory / layout.CANDIDATE_TOKENS)
        assets = load_assets(directory)
        num_tokens = linear_member.num_tokens_of(spec, assets)
        if len(neighbours) != num_tokens or similarities.shape != neighbours.shape:
            raise ValueError(
                f"{layout.NEIGHBOURS} is of shape {neighbours.shape} and {similarities.shape}, the "
                f"vocabulary has {num_tokens} rows"
            )
    inputs = linear_member.history_inputs(spec, assets)
    return ItemKnnMember(inputs, last, half_lives, neighbours, similarities, tokens)
