"""The second stage of the cascade, which scores the retrieved candidates again.

pre_ranker/
    member-0/ member-1/ ...
        architecture.json  weights.npz  vocabularies/  statistics.json    its towers
        candidate_heads.npy  [num_candidates, num_candidate_heads, head_dim] float32, in row order
    ease/                    `tfrs_twotower.towers.linear_member`, if there is one
    tastes/                  `tfrs_twotower.towers.taste_member`, if there is one
    item_knn/                `tfrs_twotower.towers.item_knn_member`, if there is one
    bm25/                    `tfrs_twotower.towers.saved_lexical_member`, if there is one
    combination.json         `Combination`
    candidate_signals.npy    [num_candidates, num_signals] float32, in row order
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.artifacts import layout
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.towers import (
    item_knn_member,
    lexical_member,
    linear_member,
    saved_lexical_member,
    storage,
    taste_member,
    tower,
)

RETRIEVAL, INTERACTION = "retrieval", "interaction"


@dataclass(frozen=True)
class Combination:
    """The weighted sum of the retrieval score, the members' scores, and signals.

    Attributes:
        num_candidates: how many retrieved candidates are scored again.
        features: `retrieval`, `interaction_0` and so on, the scores of the linear member, of the
            tastes, of the neighbours and of the lexical member, then the names of the signals.
        weights: one weight for each feature.
    """

    num_candidates: int
    features: tuple[str, ...]
    weights: tuple[float, ...]

    def __call__(
        self, retrieval: tf.Tensor, interactions: Sequence[tf.Tensor], signals: tf.Tensor
    ) -> tf.Tensor:
        """Returns the final scores.

        Args:
            retrieval: `[batch, n]` scores of the retrieval stage.
            interactions: `[batch, n]` pair scores of each member, then those of the members in
                closed form.
            signals: `[batch, n, num_signals]`.

        Returns:
            `[batch, n]` float32.
        """
        parts = [retrieval, *interactions, *tf.unstack(signals, axis=2)]
        weighted = [weight * part for weight, part in zip(self.weights, parts, strict=True)]
        return tf.add_n(weighted)

    def save(self, directory: Path) -> None:
        """Writes `combination.json`."""
        text = json.dumps({"schema": 1, **asdict(self)}, indent=2)
        (directory / layout.COMBINATION).write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Member:
    """Towers with heads for pair scores, and the cached heads of every candidate.

    Attributes:
        towers: of kind `inttower`, `mol`, `cold` or `colbert`.
        candidate_heads: `[num_candidates, num_candidate_heads, head_dim]`, in row order.
    """

    towers: tower.Towers
    candidate_heads: tf.Tensor

    def query_heads(self, raw: RawBatch) -> tf.Tensor:
        """Returns `[batch, num_heads, head_dim]` for raw query features."""
        query = self.towers.query
        return query.encode(query.inputs(raw)).heads

    def scores(self, query_heads: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Returns pair scores `[batch, n]` for candidates at rows `[batch, n]`, all >= 0."""
        return self.towers.scorer(query_heads, tf.gather(self.candidate_heads, rows))


@dataclass(frozen=True)
class PreRanker:
    """Scores retrieved candidates again.

    Attributes:
        members: one or several members.
        combination: the weighted sum of the scores.
        candidate_signals: `[num_candidates, num_signals]`, in row order.
        linear: EASE, if it is a member.
        tastes: the values that a history prefers, if they are a member.
        item_knn: the neighbours, if they are a member.
        lexical: BM25, if it is a member.
    """

    members: tuple[Member, ...]
    combination: Combination
    candidate_signals: tf.Tensor
    linear: linear_member.LinearMember | None = None
    tastes: taste_member.TasteMember | None = None
    item_knn: item_knn_member.ItemKnnMember | None = None
    lexical: lexical_member.LexicalMember | None = None

    def query_heads(self, raw: RawBatch) -> list[tf.Tensor]:
        """Returns the query side of each member, those in closed form behind the others.

        It is `[batch, num_heads, head_dim]`; of tastes and neighbours tokens `[batch, n]`, and of
        the lexical member terms `[batch, n]`.
        """
        return [member.query_heads(raw) for member in (*self.members, *self._closed_forms)]

    def scores(
        self, query_heads: Sequence[tf.Tensor], rows: tf.Tensor, retrieval_scores: tf.Tensor
    ) -> tf.Tensor:
        """Returns the final scores of retrieved candidates.

        Args:
            query_heads: result of `query_heads`.
            rows: `[batch, n]` int rows of the corpus; a negative row means no candidate.
            retrieval_scores: `[batch, n]` of the retrieval stage.

        Returns:
            `[batch, n]` float32, -inf for a missing candidate.
        """
        present = rows >= 0
        valid_rows = tf.maximum(rows, 0)
        scores = self.combination(
            tf.where(present, retrieval_scores, 0.0),
            self._interactions(query_heads, valid_rows),
            tf.gather(self.candidate_signals, valid_rows),
        )
        return tf.where(present, scores, tf.constant(-np.inf, scores.dtype))

    def _interactions(self, query_heads: Sequence[tf.Tensor], rows: tf.Tensor) -> list[tf.Tensor]:
        scores: list[tf.Tensor] = []
        for member, heads in zip((*self.members, *self._closed_forms), query_heads, strict=True):
            of_member = member.scores(heads, rows)
            scores += [of_member] if of_member.shape.rank == 2 else tf.unstack(of_member, axis=1)
        return scores

    @property
    def _closed_forms(self) -> list[Any]:
        members = (self.linear, self.tastes, self.item_knn, self.lexical)
        return [member for member in members if member is not None]


def load_pre_ranker(directory: Path) -> PreRanker:
    """Reads a finished `pre_ranker` artifact.

    Raises:
        MissingArtifact: a file is missing.
        CorruptArtifact: a file cannot be read, or the parts do not fit each other.
    """
    combination = _load_combination(directory / layout.COMBINATION)
    signals = storage.read_array(directory / layout.CANDIDATE_SIGNALS, (None, None))
    linear = None
    if (directory / layout.EASE_MEMBER).exists():
        linear = linear_member.load_linear_member(directory / layout.EASE_MEMBER)
        num_vectors = int(linear.candidate_vectors.shape[0])
        _check_size(directory / layout.EASE_MEMBER, "vectors", num_vectors, len(signals))
    tastes = None
    if (directory / layout.TASTE_MEMBER).exists():
        tastes = taste_member.load_taste_member(directory / layout.TASTE_MEMBER)
        num_candidates = int(tastes.candidate_values.shape[0])
        _check_size(directory / layout.TASTE_MEMBER, "values", num_candidates, len(signals))
    item_knn = None
    if (directory / layout.ITEM_KNN_MEMBER).exists():
        item_knn = item_knn_member.load_item_knn_member(directory / layout.ITEM_KNN_MEMBER)
        num_tokens = int(item_knn.candidate_tokens.shape[0])
        _check_size(directory / layout.ITEM_KNN_MEMBER, "tokens", num_tokens, len(signals))
    lexical = None
    if (directory / layout.BM25_MEMBER).exists():
        lexical = saved_lexical_member.load_lexical_member(directory / layout.BM25_MEMBER)
        num_texts = lexical.num_candidates
        _check_size(directory / layout.BM25_MEMBER, "texts", num_texts, len(signals))
    num_members = sum(name.startswith(f"{INTERACTION}_") for name in combination.features)
    closed_forms = [one for one in (linear, tastes, item_knn, lexical) if one is not None]
    num_scores = 1 + num_members + sum(len(member.features) for member in closed_forms)
    if num_scores + signals.shape[1] != len(combination.features):
        raise CorruptArtifact(
            f"{directory}: {layout.COMBINATION} weighs {', '.join(combination.features)}; the "
            f"other files hold {num_scores} scores and {signals.shape[1]} signals. Train the "
            "pre-ranker again."
        )
    members = []
    for number in range(num_members):
        member_dir = directory / layout.MEMBER.format(number=number)
        heads = storage.read_array(member_dir / layout.CANDIDATE_HEADS, (None, None, None))
        _check_size(member_dir, "heads", len(heads), len(signals))
        members.append(Member(storage.load_towers(member_dir), tf.constant(heads)))
    return PreRanker(
        tuple(members), combination, tf.constant(signals), linear, tastes, item_knn, lexical
    )


def save_pre_ranker(pre_ranker: PreRanker, source: Path, destination: Path) -> None:
    """Writes a pre-ranker whose candidates have changed, for `load_pre_ranker`.

    Args:
        pre_ranker: the pre-ranker.
        source: the artifact that it was loaded from. The files that do not depend on the corpus
            (towers, the query sides of the members in closed form) are copied from there.
        destination: a directory that does not exist yet.
    """
    destination.mkdir()
    pre_ranker.combination.save(destination)
    signals = pre_ranker.candidate_signals.numpy()
    np.save(destination / layout.CANDIDATE_SIGNALS, signals, allow_pickle=False)
    for number, member in enumerate(pre_ranker.members):
        name = layout.MEMBER.format(number=number)
        storage.copy_towers(source / name, destination / name)
        heads = member.candidate_heads.numpy()
        np.save(destination / name / layout.CANDIDATE_HEADS, heads, allow_pickle=False)
    if pre_ranker.linear is not None:
        old_ease, new_ease = source / layout.EASE_MEMBER, destination / layout.EASE_MEMBER
        new_ease.mkdir()
        linear_member.copy_history_side(old_ease, new_ease)
        shutil.copy2(old_ease / layout.HISTORY_VECTORS, new_ease / layout.HISTORY_VECTORS)
        vectors = pre_ranker.linear.candidate_vectors.numpy()
        np.save(new_ease / layout.CANDIDATE_VECTORS, vectors, allow_pickle=False)
    if pre_ranker.tastes is not None:
        taste_member.copy_taste_member(
            pre_ranker.tastes, source / layout.TASTE_MEMBER, destination / layout.TASTE_MEMBER
        )
    if pre_ranker.lexical is not None:
        saved_lexical_member.copy_lexical_member(
            pre_ranker.lexical, source / layout.BM25_MEMBER, destination / layout.BM25_MEMBER
        )
    if pre_ranker.item_knn is not None:
        item_knn_member.copy_item_knn_member(
            pre_ranker.item_knn,
            source / layout.ITEM_KNN_MEMBER,
            destination / layout.ITEM_KNN_MEMBER,
        )


def _check_size(directory: Path, what: str, num_candidates: int, expected: int) -> None:
    if num_candidates != expected:
        raise CorruptArtifact(
            f"{directory}: has {what} of {num_candidates} candidates, and {directory.parent} "
            f"signals of {expected}. Train the pre-ranker again."
        )


def _load_combination(path: Path) -> Combination:
    with linear_member.told_what_to_train(path):
        document = json.loads(path.read_text(encoding="utf-8"))
        features = tuple(str(name) for name in document["features"])
        weights = tuple(float(weight) for weight in document["weights"])
        if len(features) != len(weights):
            raise ValueError(f"it has {len(features)} features and {len(weights)} weights")
        return Combination(int(document["num_candidates"]), features, weights)
