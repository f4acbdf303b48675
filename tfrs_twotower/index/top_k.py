"""The searchers as TFRS top-k layers, for `tfrs.metrics.FactorizedTopK` and users' own models."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_recommenders.layers import factorized_top_k

from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index.answers import CandidateIds, Search
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.index.quality import SearchParameters
from tfrs_twotower.index.scann_search import ScannSearch
from tfrs_twotower.index.scann_training import train_scann, training_parameters


class _SearcherTopK(factorized_top_k.TopK):
    def __init__(self, query_model: Callable[..., Any] | None = None, k: int = 10) -> None:
        super().__init__(k=k)
        self.query_model = query_model
        self._search: Search | None = None
        self._candidate_ids: CandidateIds | None = None

    def index(self, candidates: tf.Tensor, identifiers: tf.Tensor | None = None) -> "_SearcherTopK":
        """Indexes candidate embeddings; see TFRS."""
        self._search = self._build(tf.convert_to_tensor(candidates).numpy())
        self._candidate_ids = None if identifiers is None else CandidateIds(identifiers)
        return self

    def call(self, queries: Any, k: int | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and ids (rows without ids) `[batch, k]` of the best candidates."""
        return self._answer(queries, k, None)

    def query_with_exclusions(
        self, queries: Any, exclusions: tf.Tensor, k: int | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `call`, without the candidates in `exclusions` `[batch, n]`; n may differ by call."""
        exclusions = tf.convert_to_tensor(exclusions)
        if self._candidate_ids is not None:
            exclusions = self._candidate_ids.rows_of(exclusions)
        return self._answer(queries, k, tf.cast(exclusions, tf.int32))

    def is_exact(self) -> bool:
        """Whether answers are those of exact search."""
        return self._built.is_exact

    @property
    def _built(self) -> Search:
        if self._search is None:
            raise ValueError("The `index` method must be called first to build the index.")
        return self._search

    def _build(self, vectors: Any) -> Search:
        raise NotImplementedError

    def _answer(
        self, queries: Any, k: int | None, excluded_rows: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if self.query_model is not None:
            queries = self.query_model(queries)
        scores, rows = self._built.search(queries, k or self._k, excluded_rows)
        return scores, rows if self._candidate_ids is None else self._candidate_ids.ids_of(rows)


class ExactTopK(_SearcherTopK):
    """Exact search as a TFRS layer.

    What it changes of `tfrs.layers.factorized_top_k.BruteForce` (0.7.7): k may exceed the corpus;
    ties are ordered by row; memory is bounded; `query_with_exclusions` takes exclusions of any
    width, never runs short, and does not subtract 1e5 from a score that might be larger.
    """

    def is_exact(self) -> bool:
        """True."""
        return True

    def _build(self, vectors: Any) -> Search:
        return ExactSearch(vectors)


class ScannTopK(_SearcherTopK):
    """ScaNN as a TFRS layer.

    What it changes of `tfrs.layers.factorized_top_k.ScaNN` (0.7.7): the anisotropic threshold is
    passed on; a corpus smaller than the number of leaves works; places that ScaNN pads with NaN
    get id "" (-1 for integers) and the lowest float32 instead of the first candidate's id;
    exclusions of any width; the same vectors give the same index.
    """

    def __init__(
        self,
        query_model: Callable[..., Any] | None = None,
        k: int = 10,
        config: IndexConfig | None = None,
    ) -> None:
        """Builds on `index`.

        Args:
            query_model: turns raw queries into embeddings; without it queries are embeddings.
            k: default list length.
            config: parameters; those that are unset start from the corpus size (a tenth of the
                leaves, 10 k reordered candidates) and are not tuned here.
        """
        super().__init__(query_model, k)
        self._config = config or IndexConfig(kind="scann", k=k)

    def is_exact(self) -> bool:
        """False."""
        return False

    def _build(self, vectors: Any) -> Search:
        num_candidates = len(vectors)
        training = training_parameters(self._config, num_candidates)
        leaves = training.num_leaves
        if leaves is not None:
            leaves = min(leaves, self._config.num_leaves_to_search or max(1, leaves // 10))
        k = min(self._config.k, num_candidates)
        depth = self._config.num_reordering_candidates or 10 * k
        parameters = SearchParameters(k, leaves, min(max(depth, k), num_candidates))
        return ScannSearch(vectors, train_scann(vectors, training, k), parameters)
