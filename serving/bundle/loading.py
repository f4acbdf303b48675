"""Loads a bundle version, after verifying its checksums, and calls its signatures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import tensorflow as tf

from serving.bundle import integrity, server_ops, versions, warm_up
from serving.graph import names, signatures
from serving.ops import library
from tfrs_twotower.artifacts import Manifest
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.documents import explain_pattern
from tfrs_twotower.errors import BundleError, UnsupportedEnvironment
from tfrs_twotower.index.scann_search import load_scann
from tfrs_twotower.ranking import RowArray

TITLES_NAME = "titles.parquet"


@dataclass(frozen=True)
class LoadedModel:
    """A SavedModel in memory, with its signatures."""

    directory: Path
    model: Any
    """The loaded object; it owns the variables that its signatures use."""

    def inputs(self, signature: str) -> dict[str, tf.TensorSpec]:
        """Inputs of a signature by name.

        Raises:
            BundleError: the bundle has no such signature.
        """
        return dict(self._function(signature).structured_input_signature[1])

    def call(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """Runs a signature.

        Args:
            signature: its name.
            inputs: arrays or lists by input name. Features that are not given are missing, and
                lists, such as `exclude_ids`, are empty.

        Raises:
            BundleError: the bundle has no such signature, or the inputs do not fit it.
        """
        function = self._function(signature)
        specs = self.inputs(signature)
        defaults = signatures.defaults({name: specs[name] for name in specs if name not in inputs})
        if not inputs or set(specs) != {*inputs, *defaults}:
            raise BundleError(
                f"{self.directory}: {signature} takes {', '.join(sorted(specs))}; found "
                f"{', '.join(sorted(inputs)) or 'nothing'}."
            )
        size = len(next(iter(inputs.values())))
        inputs = {**{name: np.repeat(row, size, 0) for name, row in defaults.items()}, **inputs}
        try:
            tensors = {
                name: tf.convert_to_tensor(inputs[name], spec.dtype) for name, spec in specs.items()
            }
            outputs = function(**tensors)
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as cause:
            raise BundleError(
                f"{self.directory}: the values do not fit the inputs of {signature}: {cause}"
            ) from cause
        return {name: value.numpy() for name, value in outputs.items()}

    def blank(self, signature: str) -> dict[str, npt.NDArray[Any]]:
        """Inputs of one query or candidate without any values; see `warm_up.blank`."""
        return {name: warm_up.blank(name, spec, 1) for name, spec in self.inputs(signature).items()}

    def missing(self, signature: str) -> dict[str, npt.NDArray[Any]]:
        """Inputs of one query whose values are all missing; see `warm_up.missing`."""
        return {name: warm_up.missing(name, spec) for name, spec in self.inputs(signature).items()}

    def ask(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """Does the same as `call`; asked of shards, it merges their lists (`ShardModels`)."""
        return self.call(signature, inputs)

    def _function(self, signature: str) -> Any:
        try:
            return self.model.signatures[signature]
        except KeyError:
            raise BundleError(
                f"{self.directory}: there is no signature '{signature}'; it has "
                f"{', '.join(sorted(self.model.signatures))}."
            ) from None


@dataclass(frozen=True)
class LoadedBundle(LoadedModel):
    """One version of a bundle in memory, with verified checksums."""

    manifest: Manifest

    def titles(self) -> dict[str, str]:
        """Titles by candidate id."""
        return read_titles(self.directory)


def read_titles(version_dir: Path) -> dict[str, str]:
    """Titles by candidate id, in row order, read from a version's directory."""
    table = pq.read_table(version_dir / TITLES_NAME)
    ids, titles = table["candidate_id"].to_pylist(), table["title"].to_pylist()
    return dict(zip(ids, titles, strict=True))


def load_bundle(path: Path | str) -> LoadedBundle:
    """Loads the served version of a bundle, or the version that the path names.

    Args:
        path: `bundle/<name>` or `bundle/<name>/<version>`.

    Raises:
        BundleError: there is no bundle, TensorFlow cannot load it, or its model is not the one
            that its manifest describes.
        MissingArtifact, CorruptArtifact: its files are not those that were published; see
            `serving.bundle.integrity.verify_version`.
        UnsupportedEnvironment: it needs operations that are not installed.
    """
    directory = versions.resolve_version(Path(path))
    manifest = integrity.verified_manifest(directory)
    loaded = LoadedBundle(directory, load_model(directory).model, manifest)
    check_model_version(loaded, manifest)
    return loaded


def check_model_version(model: LoadedModel, manifest: Manifest) -> None:
    """Checks that a model's answers carry the version that its manifest states.

    Raises:
        BundleError: they carry another; the message names both.
    """
    outputs = model.call(names.QUERY_EMBEDDING, model.blank(names.QUERY_EMBEDDING))
    answered = as_text(outputs[names.MODEL_VERSION])[0]
    stated = str(manifest.details.get("model_version"))
    if answered != stated:
        raise BundleError(
            f"{model.directory}: the model answers with version {answered}, its manifest states "
            f"{stated}: they belong to two versions. Export again."
        )


def load_model(directory: Path) -> LoadedModel:
    """Loads a SavedModel without verifying checksums.

    Raises:
        BundleError: TensorFlow cannot load it.
        UnsupportedEnvironment: it needs operations that are not installed.
    """
    _register_ops(server_ops.read_ops(directory))
    try:
        return LoadedModel(directory, tf.saved_model.load(str(directory)))
    except (OSError, ValueError, tf.errors.OpError) as cause:
        pattern = explain_pattern(directory)
        reason = f"{pattern}. Move the bundle to another name." if pattern else cause
        raise BundleError(f"{directory}: TensorFlow cannot load it: {reason}") from cause


def as_text(values: npt.NDArray[np.object_]) -> list[str]:
    """Decodes a one-dimensional array of UTF-8 bytes."""
    return [value.decode("utf-8", errors="replace") for value in values.tolist()]


def excluded(lists: Sequence[Sequence[str]]) -> npt.NDArray[np.object_]:
    """Candidates to exclude as the input `[num_queries, 1 + longest]`; column 0 is ""."""
    padded = np.full((len(lists), 1 + max(map(len, lists))), "", object)
    for row, ids in enumerate(lists):
        padded[row, 1 : 1 + len(ids)] = ids
    return padded


def answered_rows(answer: Mapping[str, npt.NDArray[Any]], corpus: Corpus) -> RowArray:
    """Rows `[batch, k]` of the returned candidates; -1 where there is none."""
    ids = answer[names.CANDIDATE_IDS]
    return corpus.row_of(ids.ravel()).reshape(ids.shape).astype(np.int64)


def _register_ops(ops: list[str]) -> None:
    if any(name.startswith(server_ops.SCANN_NAMESPACE) for name in ops):
        load_scann()
    if any(name.startswith(library.NAMESPACE) for name in ops):
        library.load()
    if server_ops.TEXT_OPS.intersection(ops):
        try:
            import tensorflow_text  # noqa: F401
        except ImportError as cause:
            raise UnsupportedEnvironment(
                f"the bundle tokenises text, and tensorflow-text does not load: {cause}. Install "
                "the version that fits TensorFlow's."
            ) from cause
