"""The object that a bundle saves: towers, searcher, ids, and one function for each signature."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from serving.graph import cascade, names, signatures
from serving.graph.release import Release
from tfrs_twotower.data.raw_inputs import RawBatch, example_parser

Outputs = dict[str, tf.Tensor]
Specs = dict[str, tf.TensorSpec]


class Signature(NamedTuple):
    """One function of the model, before it is traced."""

    function: Callable[..., Outputs]
    inputs: Specs


class ServingModel(tf.Module):
    """The parts of one bundle version, and its signatures as functions."""

    def __init__(
        self, release: Release, model_version: str, files: cascade.LookupFiles | None = None
    ) -> None:
        """Builds the modules of the version.

        Args:
            release: what the version is made from.
            model_version: returned with every answer.
            files: the keys of the lookup tables; without them, they are constants of the graph.
        """
        super().__init__(name="serving_model")
        towers = release.towers
        self.query_tower, self.candidate_tower = towers.query_tower, towers.candidate_tower
        self.cascade = cascade.Cascade(release, files)
        self.retrieval = self.cascade.candidate_generation
        self._query = dict(towers.query_inputs)
        self._candidate = dict(towers.candidate_inputs)
        self._lists = signatures.list_inputs(restricts=release.attributes is not None)
        self._k = release.k
        self._model_version = model_version

    def signatures(self) -> dict[str, Any]:
        """A concrete function for each signature, by its name."""
        return {
            name: tf.function(signature.function, autograph=False).get_concrete_function(
                **signature.inputs
            )
            for name, signature in self._signatures().items()
        }

    def defaults(self) -> dict[str, dict[str, Any]]:
        """What stands for inputs that a request leaves out, by signature; see `defaults`."""
        return {
            name: signatures.defaults(signature.inputs)
            for name, signature in self._signatures().items()
        }

    def _signatures(self) -> dict[str, Signature]:
        lists = {**self._query, **self._lists}
        by_name = {
            names.SERVING_DEFAULT: Signature(
                lambda **inputs: self._list(self.cascade, inputs), lists
            ),
            names.CANDIDATE_GENERATION: Signature(
                lambda **inputs: self._list(self.retrieval, inputs), lists
            ),
            names.QUERY_EMBEDDING: Signature(
                lambda **inputs: self._embedding(self.query_tower, inputs), self._query
            ),
            names.SERVING_EXAMPLES: Signature(
                lambda **inputs: self._from_examples(**inputs), signatures.example_inputs()
            ),
        }
        if self.candidate_tower is not None:
            by_name[names.CANDIDATE_EMBEDDING] = Signature(
                lambda **inputs: self._embedding(self.candidate_tower, inputs), self._candidate
            )
        if self.cascade.pre_ranking is not None:
            by_name[names.PRE_RANKING] = Signature(
                lambda **inputs: self._scores(inputs),
                {**self._query, **signatures.listed_candidates()},
            )
        return by_name

    def _list(
        self, step: Callable[..., tuple[tf.Tensor, tf.Tensor]], inputs: dict[str, tf.Tensor]
    ) -> Outputs:
        lists = {name: inputs[name] for name in self._lists}
        raw = {name: value for name, value in inputs.items() if name not in lists}
        scores, candidate_ids = step(_marked_as_nan(raw), **lists)
        return {
            names.CANDIDATE_IDS: tf.ensure_shape(candidate_ids, [None, self._k]),
            names.SCORES: tf.ensure_shape(scores, [None, self._k]),
            names.MODEL_VERSION: self._version_of(scores),
        }

    def _scores(self, inputs: dict[str, tf.Tensor]) -> Outputs:
        raw = {name: value for name, value in inputs.items() if name != names.CANDIDATE_IDS}
        scores = self.cascade.score(_marked_as_nan(raw), inputs[names.CANDIDATE_IDS])
        return {
            names.SCORES: tf.ensure_shape(scores, [None, None]),
            names.MODEL_VERSION: self._version_of(scores),
        }

    def _embedding(self, tower: Callable[[RawBatch], tf.Tensor], raw: RawBatch) -> Outputs:
        embedding = tower(_marked_as_nan(raw))
        return {names.EMBEDDING: embedding, names.MODEL_VERSION: self._version_of(embedding)}

    def _from_examples(self, examples: tf.Tensor) -> Outputs:
        raw = example_parser(self._query)(examples)
        ragged = {name: tf.io.RaggedFeature(tf.string) for name in self._lists}
        # A list that no example has would have no columns; "" names nothing.
        lists = {
            name: tf.pad(values.to_tensor(""), [[0, 0], [1, 0]], constant_values="")
            for name, values in tf.io.parse_example(examples, ragged).items()
        }
        answer = self._list(self.cascade, {**raw, **lists})
        # TFX's BulkInferrer takes rows apart, and cannot tell the type of a row that is one string.
        return {**answer, names.MODEL_VERSION: answer[names.MODEL_VERSION][:, tf.newaxis]}

    def _version_of(self, batch: tf.Tensor) -> tf.Tensor:
        return tf.fill(tf.shape(batch)[:1], self._model_version)


def _marked_as_nan(raw: RawBatch) -> RawBatch:
    """Replaces numbers that mark a missing value by NaN, which the towers know."""
    return {
        name: tf.where(value <= names.MISSING_NUMBER, float("nan"), value)
        if value.dtype == tf.float32 and name != names.EMBEDDING
        else value
        for name, value in raw.items()
    }


def save_model(release: Release, model_version: str, directory: Path) -> None:
    """Writes the SavedModel of a release, with the defaults of its signatures.

    Args:
        release: what the version is made from.
        model_version: returned with every answer.
        directory: where it is written; it must exist.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = cascade.LookupFiles.written(Path(scratch), release)
        model = ServingModel(release, model_version, files)
        needed = {"Scann": release.needs_scann, "Twotower": release.has_fused_ops}
        custom_ops = [namespace for namespace, is_needed in needed.items() if is_needed]
        tf.saved_model.save(
            model,
            str(directory),
            signatures=model.signatures(),
            options=tf.saved_model.SaveOptions(namespace_whitelist=custom_ops),
        )
        add_defaults(directory, model.defaults())


def add_defaults(directory: Path, defaults: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes defaults into the signatures of a SavedModel, and its fingerprint again.

    `tf.saved_model.save` writes the default values of Python arguments, but also makes the inputs'
    placeholders return them, so that a run without the input would not fail but answer one query.

    Args:
        directory: of the SavedModel.
        defaults: arrays by signature and input.
    """
    path = directory / tf.saved_model.SAVED_MODEL_FILENAME_PB
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (graph,) = saved.meta_graphs
    for signature, values in defaults.items():
        for name, value in values.items():
            proto = graph.signature_def[signature].defaults[name]
            proto.CopyFrom(tf.make_tensor_proto(value))
    path.write_bytes(saved.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(directory))
