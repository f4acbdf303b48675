"""The searchers as TFRS top-k layers, for `tfrs.metrics.FactorizedTopK` and users' own models."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_recommenders.layers import factorized_top_k

from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index import answers, exact_search, ivf, quality, scann_search, scann_training

_NOT_INDEXED = "The `index` method must be called first to build the index."


class _SearcherTopK(factorized_top_k.TopK):
    def __init__(self, query_model: Callable[..., Any] | None = None, k: int = 10) -> None:
        super().__init__(k=k)
        self.query_model = query_model
        self._search: answers.Search | None = None
        self._ask: Callable[..., Any] | None = None
        self._candidate_ids: answers.CandidateIds | None = None

    def index(self, candidates: tf.Tensor, identifiers: tf.Tensor | None = None) -> "_SearcherTopK":
        """Indexes candidate embeddings; see TFRS."""
        self._search = self._build(tf.convert_to_tensor(candidates).numpy())
        # A search is many small operations, which one call of a graph runs at once.
        self._ask = tf.function(self._search.search, autograph=False, reduce_retracing=True)
        self._candidate_ids = None if identifiers is None else answers.CandidateIds(identifiers)
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
        raise NotImplementedError

    def _build(self, vectors: Any) -> answers.Search:
        raise NotImplementedError

    def _answer(
        self, queries: Any, k: int | None, excluded_rows: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if self.query_model is not None:
            queries = self.query_model(queries)
        if self._ask is None:
            raise ValueError(_NOT_INDEXED)
        scores, rows = self._ask(queries, k or self._k, excluded_rows)
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

    def _build(self, vectors: Any) -> answers.Search:
        return exact_search.ExactSearch(vectors)


class _ApproximateTopK(_SearcherTopK):
    _kind: quality.Kind

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
                leaves; for ScaNN 10 k reordered candidates) and are not tuned here: `build_index`
                measures them on real queries.
        """
        super().__init__(query_model, k)
        self._config = config or IndexConfig(kind=self._kind, k=k)

    def is_exact(self) -> bool:
        """False."""
        return False

    def _num_leaves_to_search(self, num_leaves: int) -> int:
        return min(num_leaves, self._config.num_leaves_to_search or max(1, num_leaves // 10))


class ScannTopK(_ApproximateTopK):
    """ScaNN as a TFRS layer; needs the extra [scann].

    What it changes of `tfrs.layers.factorized_top_k.ScaNN` (0.7.7): the anisotropic threshold is
    passed on; a corpus smaller than the number of leaves works; places that ScaNN pads with NaN
    get id "" (-1 for integers) and the lowest float32 instead of the first candidate's id;
    exclusions of any width; the same vectors give the same index.
    """

    _kind = "scann"

    def _build(self, vectors: Any) -> answers.Search:
        num_candidates = len(vectors)
        training = scann_training.training_parameters(self._config, num_candidates)
        leaves = training.num_leaves
        if leaves is not None:
            leaves = self._num_leaves_to_search(leaves)
        k = min(self._config.k, num_candidates)
        depth = self._config.num_reordering_candidates or 10 * k
        parameters = quality.SearchParameters(k, leaves, min(max(depth, k), num_candidates))
        return scann_search.ScannSearch(
            vectors, scann_training.train_scann(vectors, training, k), parameters
        )


class IvfTopK(_ApproximateTopK):
    """A partitioned search (IVF, Jegou et al. 2011) in core TensorFlow operations, as a TFRS layer.

    It needs no library beside TensorFlow, so a model that holds it loads in any TensorFlow
    Serving.
    """

    _kind = "ivf"

    def _build(self, vectors: Any) -> answers.Search:
        training = ivf.ivf_training(self._config, len(vectors))
        trained = ivf.train_ivf(vectors, training.num_clusters, training.leaf_size)
        leaves = self._num_leaves_to_search(len(trained["rows"]))
        parameters = quality.SearchParameters(min(self._config.k, len(vectors)), leaves, None)
        return ivf.IvfSearch(vectors, trained, parameters)
