"""Writes one version of a bundle: what TensorFlow Serving loads, and what people need beside it."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from serving.bundle.gate import MEASURES, check_release
from serving.bundle.loading import TITLES_NAME, LoadedModel, load_model
from serving.bundle.measures import memory_estimate
from serving.bundle.publishing import (
    FinishedVersion,
    StagedVersion,
    WrittenBundle,
    publish,
    stage_version,
)
from serving.bundle.server_files import BATCHING_NAME, batching_parameters
from serving.bundle.versions import newest_version
from serving.bundle.warmup import write_warmup_requests
from serving.graph.candidate_heads import HeadStorage
from serving.graph.model import ServingModel
from serving.graph.pre_ranking import PreRanking
from tfrs_twotower.artifacts import fingerprint, seal
from tfrs_twotower.config import GateConfig
from tfrs_twotower.errors import BundleError
from tfrs_twotower.index.answers import CandidateIds, Search
from tfrs_twotower.index.restricts import Attributes, CandidateAttributes
from tfrs_twotower.index.storage import Index
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.pre_ranker import PreRanker


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
    pre_ranker: PreRanker | None = None
    """Of the same corpus; None serves retrieval."""
    attributes: CandidateAttributes | None = None
    """Of the same corpus: what `allow` and `deny` speak of. None leaves them out."""

    def searcher(self, options: "BundleOptions") -> Search:
        """A searcher of the kind that a bundle of these options has."""
        if options.exact:
            return self.index.exact_search()
        return self.index.search(max_excluded=options.max_excluded)


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
    candidate_heads: HeadStorage = "float32"
    """Type that the pre-ranker's candidate heads are kept in."""
    gate: GateConfig = field(default_factory=GateConfig)
    """What it must not lose against the version that is served."""


def _nothing_more(_: LoadedModel) -> Mapping[str, Any]:
    return {}


def write_bundle(
    bundle: Path,
    source: BundleSource,
    options: BundleOptions,
    complete: Callable[[LoadedModel], Mapping[str, Any]] = _nothing_more,
) -> WrittenBundle:
    """Publishes the next version of a bundle and removes those beyond `keep_versions`.

    The version appears under its number only when it is complete.

    Args:
        bundle: the bundle's directory, `bundle/<name>`.
        source: towers, index, spec.
        options: how it is written.
        complete: see `fill_version`.

    Raises:
        BundleError: see `fill_version` and `serving.bundle.publishing.publish`.
    """
    with stage_version(bundle) as staged:
        model = fill_version(staged, source, options, complete)
        return publish([FinishedVersion(staged, options.keep_versions, model)])[0]


def fill_version(
    staged: StagedVersion,
    source: BundleSource,
    options: BundleOptions,
    complete: Callable[[LoadedModel], Mapping[str, Any]] = _nothing_more,
) -> LoadedModel:
    """Writes everything of a version, its manifest last; `publish` is what is left to do.

    Args:
        staged: where it is written.
        source: towers, index, spec.
        options: how it is written.
        complete: is given the saved model as a server will load it, raises to refuse it, may add
            files beside it, and returns what the manifest's details say of it (`measures` are
            compared with the served version's).

    Returns:
        The saved model as it was loaded.

    Raises:
        BundleError: a candidate id cannot be served, `complete` refused the model, or the release
            gate did.
    """
    _check_ids(source.index.candidate_ids)
    _check_sizes(source)
    k = min(options.k, len(source.index.candidate_ids))
    identity = fingerprint(
        {
            **source.parents,
            "exact": options.exact,
            "k": options.k,
            "candidate_heads": options.candidate_heads,
            "restricts": sorted(source.attributes.values) if source.attributes else [],
        }
    )
    model_version = f"{staged.version}-{identity}"
    _save_model(staged.directory, source, options, k, model_version)
    model = load_model(staged.directory)
    details = dict(complete(model))
    check_release(staged.bundle, staged.version, details.get(MEASURES, {}), options.gate)
    _write_extras(staged.directory, source, options, model)
    seal(
        staged.directory,
        kind="bundle",
        spec_fingerprint=fingerprint(source.spec),
        config_fingerprint=source.config_fingerprint,
        parents=source.parents,
        counts={
            "candidates": len(source.index.candidate_ids),
            "k": k,
            "version": staged.version,
        },
        details={
            "name": options.name,
            "index": "brute_force" if options.exact else source.index.kind,
            "model_version": model_version,
            "memory": memory_estimate(staged.directory, newest_version(staged.bundle)),
            **details,
        },
    )
    return model


def _save_model(
    staging: Path, source: BundleSource, options: BundleOptions, k: int, model_version: str
) -> None:
    index = source.index
    scann = not options.exact and index.kind == "scann"
    pre_ranking, attributes = None, None
    if source.pre_ranker is not None:
        pre_ranking = PreRanking(source.pre_ranker, options.candidate_heads)
    if source.attributes is not None:
        attributes = Attributes(source.attributes)
    with tempfile.TemporaryDirectory() as scratch:
        lookup_file = Path(scratch) / "candidate_ids.txt"
        lookup_file.write_bytes("".join(f"{name}\n" for name in index.candidate_ids).encode())
        model = ServingModel(
            source.spec,
            source.query_tower,
            source.candidate_tower,
            source.searcher(options),
            CandidateIds(index.candidate_ids, lookup_file),
            k=k,
            model_version=model_version,
            pre_ranking=pre_ranking,
            attributes=attributes,
        )
        tf.saved_model.save(
            model,
            str(staging),
            signatures=model.signatures(),
            options=tf.saved_model.SaveOptions(namespace_whitelist=["Scann"] if scann else []),
        )


def _write_extras(
    staging: Path, source: BundleSource, options: BundleOptions, model: LoadedModel
) -> None:
    index = source.index
    inputs = {name: model.inputs(name) for name in sorted(model.model.signatures)}
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


def _check_sizes(source: BundleSource) -> None:
    expected = len(source.index.candidate_ids)
    found = {"vectors": len(source.index.vectors)}
    if source.pre_ranker is not None:
        found["pre-ranker"] = len(source.pre_ranker.candidate_signals)
    if source.attributes is not None:
        found |= {f"attribute {name}": len(v) for name, v in source.attributes.values.items()}
    for part, size in found.items():
        if size != expected:
            raise BundleError(
                f"the {part} is of {size} candidates, the index of {expected}: they are not of one "
                "corpus. Run the stages that write them again."
            )
