"""Writes one version of a bundle: the files that TensorFlow Serving loads, and the others."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from serving.bundle import loading, measures, publishing, refresh_files, server_files, versions
from serving.bundle.gate import MEASURES, check_release
from serving.graph.model import save_model
from serving.graph.release import Release
from serving.graph.signatures import QUERY_EMBEDDING
from tfrs_twotower.artifacts import seal
from tfrs_twotower.data.lines import breaks_lines
from tfrs_twotower.errors import BundleError

Check = Callable[[loading.LoadedModel], Mapping[str, Any]]
"""Takes the saved model as a server will load it, and raises to refuse it. Returns entries for the
manifest's details; the release gate compares their `measures` with those of the served version."""


def _not_measured(_: loading.LoadedModel) -> Mapping[str, Any]:
    return {}


def write_bundle(
    bundle: Path, release: Release, check: Check = _not_measured, version: int | None = None
) -> publishing.WrittenBundle:
    """Publishes the next version of a bundle, and removes versions beyond `keep_versions`.

    The version appears under its number only when it is complete.

    Args:
        bundle: the bundle's directory, `bundle/<name>`.
        release: what the version is made from.
        check: checks and measures the model.
        version: its number; by default the next.

    Raises:
        BundleError: see `write_release` and `serving.bundle.publishing.publish`.
    """
    with publishing.stage_version(bundle, version) as staged:
        model = write_release(staged, release, check)
        keep_versions = release.settings.export.keep_versions
        finished = publishing.FinishedVersion(staged, keep_versions, model)
        return publishing.publish([finished])[0]


def write_release(
    staged: publishing.StagedVersion, release: Release, check: Check = _not_measured
) -> loading.LoadedModel:
    """Writes all files of a version, the manifest last; only `publish` remains to be done.

    Args:
        staged: the directory that the version is written to.
        release: what the version is made from.
        check: checks and measures the model.

    Returns:
        The saved model, loaded again.

    Raises:
        BundleError: a candidate id cannot be served, `check` refused the model, or the release
            gate did.
    """
    _check_ids(release)
    _check_sizes(release)
    model_version = f"{staged.version}-{release.identity}"
    save_model(release, model_version, staged.directory)
    model = loading.load_model(staged.directory)
    details = dict(check(model))
    if release.refresh is not None:
        blank = {name: tf.constant(value) for name, value in model.blank(QUERY_EMBEDDING).items()}
        blank_query = release.towers.query_tower(blank).numpy()[0]
        refresh_files.RefreshFiles(staged.directory).write(release, release.refresh, blank_query)
    gate = release.settings.export.gate
    check_release(staged.bundle, staged.version, details.get(MEASURES, {}), gate)
    _write_extras(staged, release, model)
    seal(
        staged.directory,
        kind="bundle",
        **release.lineage._asdict(),
        counts={"candidates": len(release.corpus), "k": release.k, "version": staged.version},
        details={
            "name": staged.bundle.name,
            "index": release.kind,
            "model_version": model_version,
            "memory": measures.memory_estimate(
                staged.directory, versions.newest_version(staged.bundle)
            ),
            **details,
        },
    )
    return model


def _write_extras(
    staged: publishing.StagedVersion, release: Release, model: loading.LoadedModel
) -> None:
    batch_sizes = release.settings.export.allowed_batch_sizes
    inputs = {name: model.inputs(name) for name in sorted(model.model.signatures)}
    server_files.write_warmup_requests(staged.directory, staged.bundle.name, inputs, batch_sizes)
    text = server_files.batching_parameters(batch_sizes)
    (staged.directory / server_files.BATCHING_NAME).write_text(text, encoding="utf-8")
    ids, titles = (
        pa.array(strings, pa.string()) for strings in (release.corpus.ids, release.corpus.titles)
    )
    pq.write_table(
        pa.table({"candidate_id": ids, "title": titles}), staged.directory / loading.TITLES_NAME
    )


def _check_ids(release: Release) -> None:
    for candidate_id in release.corpus.ids:
        if not candidate_id or breaks_lines(candidate_id):
            raise BundleError(
                f"the corpus has a candidate with the id {candidate_id!r}: an id that is served "
                "must not be empty or contain a line break or another control character. Change it "
                "in the candidates table."
            )


def _check_sizes(release: Release) -> None:
    expected = len(release.corpus)
    sizes = {"vectors": len(release.index.vectors)}
    if release.pre_ranker is not None:
        sizes["pre-ranker"] = len(release.pre_ranker.candidate_signals)
    if release.attributes is not None:
        sizes |= {f"attribute {name}": len(v) for name, v in release.attributes.values.items()}
    for part, size in sizes.items():
        if size != expected:
            raise BundleError(
                f"the {part} has {size} candidates, the index {expected}: they do not belong to "
                "one corpus. Run the stages that write them again."
            )
