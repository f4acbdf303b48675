"""Writes one version of a bundle: what TensorFlow Serving loads, and what people need beside it."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from serving import signatures as names
from serving.batching import BATCHING_NAME, batching_parameters
from serving.loading import TITLES_NAME, LoadedModel, load_model
from serving.model import ServingModel
from serving.server_config import (
    MODELS_NAME,
    MONITORING_NAME,
    models_config,
    monitoring_config,
)
from serving.versions import list_versions, next_version, remove_old_versions
from serving.warmup import write_warmup_requests
from tfrs_twotower.artifacts import Manifest, commit, fingerprint
from tfrs_twotower.errors import BundleError
from tfrs_twotower.index.candidate_ids import CandidateIds
from tfrs_twotower.index.storage import Index
from tfrs_twotower.specs import FeatureSpec


@dataclass(frozen=True)
class BundleSource:
    """What a bundle is made from."""

    spec: FeatureSpec
    query_tower: Any
    """`tf.Module`: raw query features to `[batch, embedding_dim]`."""
    candidate_tower: Any
    """`tf.Module`: raw candidate features to `[batch, embedding_dim]`."""
    index: Index
    parents: Mapping[str, str]
    """Fingerprints of the artifacts that the rest came from."""
    config_fingerprint: str


@dataclass(frozen=True)
class BundleOptions:
    """How a bundle is written."""

    name: str
    """The bundle's directory name, and the model's name at the server."""
    exact: bool
    """Exact search in core operations, whatever kind the index has."""
    k: int
    """List length; a smaller corpus makes it shorter."""
    max_excluded: int
    """Exclusions that a longer ScaNN search makes up for; more are answered by exact search."""
    allowed_batch_sizes: Sequence[int]
    keep_versions: int


@dataclass(frozen=True)
class WrittenBundle:
    """A version that was written."""

    directory: Path
    version: int
    manifest: Manifest
    removed_versions: list[int]


def write_bundle(
    bundle: Path,
    source: BundleSource,
    options: BundleOptions,
    check: Callable[[LoadedModel], None] = lambda _: None,
) -> WrittenBundle:
    """Writes the next version of a bundle and removes those beyond `keep_versions`.

    The version appears under its number only when it is complete.

    Args:
        bundle: the bundle's directory, `bundle/<name>`.
        source: towers, index, spec.
        options: how it is written.
        check: is given the saved model as a server will load it, and raises to refuse it.

    Raises:
        BundleError: a candidate id cannot be served, or the check refused the model.
    """
    _check_ids(source.index.candidate_ids)
    bundle.mkdir(parents=True, exist_ok=True)
    version = next_version(bundle)
    destination = bundle / str(version)
    staging = bundle / f".{version}.partial"
    staging.mkdir()
    k = min(options.k, len(source.index.candidate_ids))
    identity = fingerprint({**source.parents, "exact": options.exact, "k": k})
    _save_model(staging, source, options, k, f"{version}-{identity}")
    check(load_model(staging))
    _write_extras(staging, source, options)
    if version in list_versions(bundle):
        raise BundleError(f"{destination}: was written meanwhile by another export. Export again.")
    manifest = commit(
        staging,
        destination,
        kind="bundle",
        spec_fingerprint=fingerprint(source.spec),
        config_fingerprint=source.config_fingerprint,
        parents=source.parents,
        counts={"candidates": len(source.index.candidate_ids), "k": k, "version": version},
        details={
            "name": options.name,
            "index": "brute_force" if options.exact else source.index.kind,
            "model_version": f"{version}-{identity}",
        },
    )
    text = models_config(options.name, options.keep_versions)
    (bundle / MODELS_NAME).write_text(text, encoding="utf-8")
    (bundle / MONITORING_NAME).write_text(monitoring_config(), encoding="utf-8")
    removed = remove_old_versions(bundle, options.keep_versions)
    return WrittenBundle(destination, version, manifest, removed)


def _save_model(
    staging: Path, source: BundleSource, options: BundleOptions, k: int, model_version: str
) -> None:
    index = source.index
    search = (
        index.exact_search() if options.exact else index.search(max_excluded=options.max_excluded)
    )
    scann = not options.exact and index.kind == "scann"
    with tempfile.TemporaryDirectory() as scratch:
        lookup_file = Path(scratch) / "candidate_ids.txt"
        lookup_file.write_bytes("".join(f"{name}\n" for name in index.candidate_ids).encode())
        model = ServingModel(
            source.spec,
            source.query_tower,
            source.candidate_tower,
            search,
            CandidateIds(index.candidate_ids, lookup_file),
            k=k,
            model_version=model_version,
        )
        tf.saved_model.save(
            model,
            str(staging),
            signatures=model.signatures(),
            options=tf.saved_model.SaveOptions(namespace_whitelist=["Scann"] if scann else []),
        )


def _write_extras(staging: Path, source: BundleSource, options: BundleOptions) -> None:
    spec, index = source.spec, source.index
    inputs = {
        names.SERVING_DEFAULT: names.retrieval_inputs(spec),
        names.CANDIDATE_GENERATION: names.retrieval_inputs(spec),
        names.QUERY_EMBEDDING: names.query_inputs(spec),
        names.CANDIDATE_EMBEDDING: names.candidate_inputs(spec),
        names.SERVING_EXAMPLES: names.example_inputs(),
    }
    write_warmup_requests(staging, options.name, inputs, options.allowed_batch_sizes)
    text = batching_parameters(options.allowed_batch_sizes)
    (staging / BATCHING_NAME).write_text(text, encoding="utf-8")
    titles = pa.table(
        {"candidate_id": index.candidate_ids, "title": pa.array(index.titles, pa.string())}
    )
    pq.write_table(titles, staging / TITLES_NAME)


def _check_ids(candidate_ids: Sequence[str]) -> None:
    for candidate_id in candidate_ids:
        if not candidate_id or "\n" in candidate_id or "\r" in candidate_id:
            raise BundleError(
                f"the corpus has a candidate with the id {candidate_id!r}: an id that is served "
                "must not be empty or contain a line break. Change it in the candidates table."
            )
