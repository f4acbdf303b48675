"""The object that a bundle saves: towers, searcher, ids, and one function for each signature."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from serving.graph import signatures as names
from serving.graph.cascade import CandidateGeneration, Cascade
from serving.graph.pre_ranking import PreRanking
from tfrs_twotower.data.raw_inputs import RawBatch, example_parser
from tfrs_twotower.index.answers import CandidateIds, Search
from tfrs_twotower.index.restricts import Attributes
from tfrs_twotower.specs import FeatureSpec

Outputs = dict[str, tf.Tensor]
Specs = dict[str, tf.TensorSpec]


class Signature(NamedTuple):
    """One function of the model, before it is traced."""

    function: Callable[..., Outputs]
    inputs: Specs


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
        pre_ranking: PreRanking | None = None,
        attributes: Attributes | None = None,
    ) -> None:
        """Puts the parts together.

        Args:
            spec: names and kinds of the features.
            query_tower: raw query features to `[batch, embedding_dim]`.
            candidate_tower: raw candidate features to the same.
            search: searcher over the corpus.
            candidate_ids: ids of the same corpus.
            k: list length of every answer, at most the number of candidates.
            model_version: returned with every answer.
            pre_ranking: re-scores candidates of the same corpus; None serves retrieval.
            attributes: of the same corpus; None leaves `allow` and `deny` out.
        """
        super().__init__(name="serving_model")
        self.query_tower = query_tower
        self.candidate_tower = candidate_tower
        self.retrieval = CandidateGeneration(query_tower, search, candidate_ids, k, attributes)
        self.cascade = Cascade(self.retrieval, pre_ranking, k)
        self._spec = spec
        self._lists = names.list_inputs(restricts=attributes is not None)
        self._k = k
        self._model_version = model_version

    def signatures(self) -> dict[str, Any]:
        """A concrete function for each signature, by its name."""
        return {
            name: tf.function(signature.function, autograph=False).get_concrete_function(
                **signature.inputs
            )
            for name, signature in self._signatures().items()
        }

    def _signatures(self) -> dict[str, Signature]:
        query = names.query_inputs(self._spec)
        lists = {**query, **self._lists}
        found = {
            names.SERVING_DEFAULT: Signature(
                lambda **inputs: self._list(self.cascade, inputs), lists
            ),
            names.CANDIDATE_GENERATION: Signature(
                lambda **inputs: self._list(self.retrieval, inputs), lists
            ),
            names.QUERY_EMBEDDING: Signature(
                lambda **inputs: self._embedding(self.query_tower, inputs), query
            ),
            names.CANDIDATE_EMBEDDING: Signature(
                lambda **inputs: self._embedding(self.candidate_tower, inputs),
                names.candidate_inputs(self._spec),
            ),
            names.SERVING_EXAMPLES: Signature(
                lambda **inputs: self._from_examples(**inputs), names.example_inputs()
            ),
        }
        if self.cascade.pre_ranking is not None:
            found[names.PRE_RANKING] = Signature(
                lambda **inputs: self._scores(inputs), names.pre_ranking_inputs(self._spec)
            )
        return found

    def _list(
        self, step: Callable[..., tuple[tf.Tensor, tf.Tensor]], inputs: dict[str, tf.Tensor]
    ) -> Outputs:
        lists = {name: inputs[name] for name in self._lists}
        raw = {name: value for name, value in inputs.items() if name not in lists}
        scores, candidate_ids = step(raw, **lists)
        return {
            names.CANDIDATE_IDS: tf.ensure_shape(candidate_ids, [None, self._k]),
            names.SCORES: tf.ensure_shape(scores, [None, self._k]),
            names.MODEL_VERSION: self._version_of(scores),
        }

    def _scores(self, inputs: dict[str, tf.Tensor]) -> Outputs:
        raw = {name: value for name, value in inputs.items() if name != names.CANDIDATE_IDS}
        scores = self.cascade.score(raw, inputs[names.CANDIDATE_IDS])
        return {
            names.SCORES: tf.ensure_shape(scores, [None, None]),
            names.MODEL_VERSION: self._version_of(scores),
        }

    def _embedding(self, tower: Callable[[RawBatch], tf.Tensor], raw: RawBatch) -> Outputs:
        embedding = tower(raw)
        return {names.EMBEDDING: embedding, names.MODEL_VERSION: self._version_of(embedding)}

    def _from_examples(self, examples: tf.Tensor) -> Outputs:
        raw = example_parser(self._spec.query.features)(examples)
        ragged = {name: tf.io.RaggedFeature(tf.string) for name in self._lists}
        # A list that nobody gave is as long as the others': at least its column 0.
        lists = {
            name: tf.pad(values.to_tensor(""), [[0, 0], [1, 0]], constant_values="")
            for name, values in tf.io.parse_example(examples, ragged).items()
        }
        return self._list(self.cascade, {**raw, **lists})

    def _version_of(self, batch: tf.Tensor) -> tf.Tensor:
        return tf.fill(tf.shape(batch)[:1], self._model_version)
