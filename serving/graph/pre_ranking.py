"""Pre-ranking: scores retrieved candidates again, from precomputed heads."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.graph.candidate_heads import CandidateHeads, Heads, HeadStorage, best_matches, rounded
from serving.graph.packed_heads import PackedHeads
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.index import answers
from tfrs_twotower.ranking import LOWEST_SCORE, RowArray
from tfrs_twotower.towers import lexical_member
from tfrs_twotower.towers.linear_member import LinearMember
from tfrs_twotower.towers.pre_ranker import Member, PreRanker

_Number = TypeVar("_Number", np.float32, np.int32)


class PreRanking(tf.Module):
    """Computes `PreRanker.scores` in the form that is cheapest for a request.

    The final score is a weighted sum. The terms that depend on the candidate alone (signals, the
    members' biases) are added up to one constant per candidate. EASE has one query vector for each
    half-life and a single candidate vector, so that its weighted scores are one product of two
    vectors; the neighbours' half-lives make one weight for each place of the history, and tastes
    have one for each value of a candidate.

        score = w_0 retrieval + sum_m w_m a_m sum_r max_h <U_mr, V_mh> + <sum_l w_l q_l, v>
                + sum_v w_v lift_v + sum_p w_p similarity_p + w_b log(1 + bm25) + w_s bm25 / best
                + c

    A mixture of logits, or a network over heads, has its score in place of the sum of maxima.
    """

    def __init__(
        self,
        pre_ranker: PreRanker,
        storage: HeadStorage = "float32",
        lexical: lexical_member.LexicalMember | None = None,
        *,
        fused: bool = False,
    ) -> None:
        """Takes the query side of a pre-ranker, and stores heads and constants of its candidates.

        Args:
            pre_ranker: the loaded pre-ranker.
            storage: type of the stored candidate heads.
            lexical: the lexical member in the form for this graph; by default as it is.
            fused: whether `best` is one operation of `serving.ops`, for sums of maxima only.

        Raises:
            UnsupportedEnvironment, CorruptArtifact: see `serving.ops.library.load`.
        """
        super().__init__(name="pre_ranking")
        combination, members = pre_ranker.combination, pre_ranker.members
        self.num_candidates = combination.num_candidates
        self.query_towers = [member.towers.query for member in members]
        closed_forms = (
            pre_ranker.linear,
            pre_ranker.tastes,
            pre_ranker.item_knn,
            pre_ranker.lexical,
        )
        numbers = [0 if member is None else len(member.features) for member in closed_forms]
        sizes = [1, len(members), *numbers]
        weights = np.split(np.array(combination.weights, np.float32), np.cumsum(sizes))
        (self._retrieval_weight,) = weights[0].tolist()
        scorers = [member.towers.scorer for member in members]
        self._own_scorers = {
            str(number): scorer for number, scorer in enumerate(scorers) if not scorer.sums_maxima
        }
        self._factors = [
            float(weight * scorer.scale) for weight, scorer in zip(weights[1], scorers, strict=True)
        ]
        heads = [member.candidate_heads.numpy() for member in members]
        self.linear: LinearMember | None = None
        if pre_ranker.linear is not None:
            self.linear = _query_side(pre_ranker.linear)
            self._linear_weights = weights[2]
            self._factors.append(1.0)
            heads.append(pre_ranker.linear.candidate_vectors.numpy()[:, np.newaxis])
        self.tastes, self._taste_weights = pre_ranker.tastes, weights[3]
        self.item_knn, self._item_knn_weights = pre_ranker.item_knn, weights[4]
        self.lexical, self._lexical_weights = lexical or pre_ranker.lexical, weights[5]
        constants = pre_ranker.candidate_signals.numpy() @ weights[6] + sum(
            float(weight * scorer.bias) for weight, scorer in zip(weights[1], scorers, strict=True)
        )
        kept = PackedHeads if fused else CandidateHeads
        self.candidate_heads = kept(heads, constants.astype(np.float32), storage)

    def __call__(self, raw: RawBatch, rows: tf.Tensor, retrieval_scores: tf.Tensor) -> tf.Tensor:
        """Final scores.

        Args:
            raw: query features.
            rows: `[batch, n]` int32; -1 marks a place without a candidate.
            retrieval_scores: `[batch, n]`, from candidate generation.

        Returns:
            `[batch, n]` float32; the lowest float32 where there is no candidate or no finite score.
        """
        valid_rows = tf.maximum(rows, 0)
        heads, constants = self.candidate_heads.of_rows(valid_rows)
        matches = [
            factor * self._match(number, query_heads, of_candidates)
            for number, (factor, query_heads, of_candidates) in enumerate(
                zip(self._factors, self._query_heads(raw), heads, strict=True)
            )
        ]
        others = self._without_heads(raw, valid_rows, retrieval_scores)
        scores = tf.add_n([*others, constants, *matches])
        is_valid = tf.logical_and(rows >= 0, tf.math.is_finite(scores))
        return tf.where(is_valid, scores, LOWEST_SCORE)

    def _match(self, number: int, query_heads: tf.Tensor, candidates: Heads) -> tf.Tensor:
        """`[batch, n]` scores of one member, or of EASE behind them, without its factor."""
        scorer = self._own_scorers.get(str(number))
        if scorer is None:
            return best_matches(query_heads, candidates)
        return scorer.of_lists(query_heads, candidates.scaled(query_heads.shape[2]))

    def best(
        self, raw: RawBatch, rows: tf.Tensor, retrieval_scores: tf.Tensor, k: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The first k of each list by final score: `answers.order` of what `__call__` gives."""
        if not isinstance(self.candidate_heads, PackedHeads):
            return answers.order(self(raw, rows, retrieval_scores), rows, k)
        given = tf.add_n(self._without_heads(raw, tf.maximum(rows, 0), retrieval_scores))
        return self.candidate_heads.best(self._query_heads(raw), self._factors, rows, given, k)

    def _without_heads(
        self, raw: RawBatch, valid_rows: tf.Tensor, retrieval_scores: tf.Tensor
    ) -> list[tf.Tensor]:
        """The terms of the score, `[batch, n]` each, that need no heads of candidates."""
        terms = [self._retrieval_weight * retrieval_scores]
        if self.tastes is not None:
            chosen = self.tastes.query_heads(raw)
            terms.append(self.tastes.weighted(chosen, valid_rows, self._taste_weights))
        if self.item_knn is not None:
            latest = self.item_knn.query_heads(raw)
            terms.append(self.item_knn.weighted(latest, valid_rows, self._item_knn_weights))
        if self.lexical is not None:
            of_terms = self.lexical.scores(self.lexical.query_heads(raw), valid_rows)
            terms.append(tf.einsum("bfn,f->bn", of_terms, self._lexical_weights))
        return terms

    def _query_heads(self, raw: RawBatch) -> Sequence[tf.Tensor]:
        heads = [tower.encode(tower.inputs(raw)).heads for tower in self.query_towers]
        if self.linear is not None:
            of_half_lives = self.linear.query_heads(raw)
            weights = self._linear_weights[:, np.newaxis]
            heads.append(tf.reduce_sum(weights * of_half_lives, axis=1, keepdims=True))
        return heads


def as_kept(pre_ranker: PreRanker, storage: HeadStorage) -> PreRanker:
    """The pre-ranker whose `scores` equal those of a `PreRanking` with this storage."""
    linear = pre_ranker.linear
    if linear is not None:
        vectors = linear.candidate_vectors.numpy()[:, np.newaxis]
        linear = linear.with_candidates(rounded(vectors, storage)[:, 0])
    members = [
        replace(
            member, candidate_heads=tf.constant(rounded(member.candidate_heads.numpy(), storage))
        )
        for member in pre_ranker.members
    ]
    return replace(pre_ranker, members=tuple(members), linear=linear)


def select_candidates(pre_ranker: PreRanker, rows: RowArray) -> PreRanker:
    """The pre-ranker over a selection of its candidates.

    Args:
        pre_ranker: the pre-ranker of a corpus.
        rows: `[n]` rows of that corpus; -1 stands for an unknown candidate, whose heads, signals
            and vectors are zeros. With BM25, all candidates must be known.
    """
    linear, tastes, item_knn = pre_ranker.linear, pre_ranker.tastes, pre_ranker.item_knn
    lexical = pre_ranker.lexical
    if item_knn is not None:
        item_knn = item_knn.with_candidates(pick_rows(item_knn.candidate_tokens.numpy(), rows))
    if tastes is not None:
        tastes = tastes.with_candidates(pick_rows(tastes.candidate_values.numpy(), rows))
    if linear is not None:
        linear = linear.with_candidates(pick_rows(linear.candidate_vectors.numpy(), rows))
    return PreRanker(
        tuple(
            Member(member.towers, tf.constant(pick_rows(member.candidate_heads.numpy(), rows)))
            for member in pre_ranker.members
        ),
        pre_ranker.combination,
        tf.constant(pick_rows(pre_ranker.candidate_signals.numpy(), rows)),
        linear,
        tastes,
        item_knn,
        None if lexical is None else lexical.at(rows),
    )


def pick_rows(values: npt.NDArray[_Number], rows: RowArray) -> npt.NDArray[_Number]:
    """`values[rows]`, zeros where a row is -1."""
    is_known = (rows >= 0).reshape(-1, *[1] * (values.ndim - 1))
    return np.where(is_known, values[np.maximum(rows, 0)], values.dtype.type(0))


def _query_side(linear: LinearMember) -> LinearMember:
    """The member without candidate vectors, which are stored among the heads."""
    none = np.zeros((0, linear.candidate_vectors.shape[1]), np.float32)
    return linear.with_candidates(none)
