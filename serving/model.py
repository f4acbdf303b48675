"""The object that a bundle saves: towers, searcher, ids, and one function for each signature."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from serving import signatures as names
from serving.candidate_generation import CandidateGeneration
from serving.cascade import Cascade
from tfrs_twotower.data.raw_inputs import RawBatch, example_parser
from tfrs_twotower.index.answers import Search
from tfrs_twotower.index.candidate_ids import CandidateIds
from tfrs_twotower.specs import FeatureSpec

Outputs = dict[str, tf.Tensor]


class ServingModel(tf.Module):
    """Everything of one bundle version."""

    def __init__(
        self,
        spec: FeatureSpec,
        query_tower: tf.Module,
        candidate_tower: tf.Module,
        search: Search,
        candidate_ids: CandidateIds,
        *,
        k: int,
        model_version: str,
    ) -> None:
        """Puts the parts together.

        Args:
            spec: names and kinds of the features.
            query_tower: raw query features to `[batch, embedding_dim]`.
            candidate_tower: raw candidate features to the same.
            search: searcher over the corpus.
            candidate_ids: ids of the same corpus.
            k: list length of every answer.
            model_version: returned with every answer.
        """
        super().__init__(name="serving_model")
        self.query_tower = query_tower
        self.candidate_tower = candidate_tower
        self.retrieval = CandidateGeneration(query_tower, search, candidate_ids, k)
        self.cascade = Cascade(self.retrieval)
        self._spec = spec
        self._k = k
        self._model_version = model_version

    def signatures(self) -> dict[str, Any]:
        """A concrete function for each signature, by its name."""
        spec = self._spec
        functions: dict[str, tuple[Callable[..., Outputs], dict[str, tf.TensorSpec]]] = {
            names.SERVING_DEFAULT: (
                lambda **inputs: self._list(self.cascade, inputs),
                names.retrieval_inputs(spec),
            ),
            names.CANDIDATE_GENERATION: (
                lambda **inputs: self._list(self.retrieval, inputs),
                names.retrieval_inputs(spec),
            ),
            names.QUERY_EMBEDDING: (
                lambda **inputs: self._embedding(self.query_tower, inputs),
                names.query_inputs(spec),
            ),
            names.CANDIDATE_EMBEDDING: (
                lambda **inputs: self._embedding(self.candidate_tower, inputs),
                names.candidate_inputs(spec),
            ),
            names.SERVING_EXAMPLES: (
                lambda **inputs: self._from_examples(**inputs),
                names.example_inputs(),
            ),
        }
        return {
            name: tf.function(function, autograph=False).get_concrete_function(**specs)
            for name, (function, specs) in functions.items()
        }

    def _list(
        self, step: Callable[[RawBatch, tf.Tensor], tuple[tf.Tensor, tf.Tensor]], inputs: RawBatch
    ) -> Outputs:
        raw = {name: value for name, value in inputs.items() if name != names.EXCLUDE_IDS}
        scores, candidate_ids = step(raw, inputs[names.EXCLUDE_IDS])
        return {
            names.CANDIDATE_IDS: tf.ensure_shape(candidate_ids, [None, self._k]),
            names.SCORES: tf.ensure_shape(scores, [None, self._k]),
            names.MODEL_VERSION: self._version_of(scores),
        }

    def _embedding(self, tower: Callable[[RawBatch], tf.Tensor], raw: RawBatch) -> Outputs:
        embedding = tower(raw)
        return {names.EMBEDDING: embedding, names.MODEL_VERSION: self._version_of(embedding)}

    def _from_examples(self, examples: tf.Tensor) -> Outputs:
        raw = example_parser(self._spec.query.features)(examples)
        lists = {names.EXCLUDE_IDS: tf.io.RaggedFeature(tf.string)}
        excluded = tf.io.parse_example(examples, lists)[names.EXCLUDE_IDS]
        return self._list(self.cascade, {**raw, names.EXCLUDE_IDS: excluded.to_tensor("")})

    def _version_of(self, batch: tf.Tensor) -> tf.Tensor:
        return tf.fill(tf.shape(batch)[:1], self._model_version)
