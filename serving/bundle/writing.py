"""Writes one version of a bundle: the files that TensorFlow Serving loads, and the others."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from serving.bundle import (
    integrity,
    loading,
    measures,
    publishing,
    refresh_files,
    server_files,
    versions,
    warm_up,
)
from serving.bundle.gate import MEASURES, Figures, check_release
from serving.bundle.history import EXPORT, MADE_BY, MadeBy
from serving.graph.model import save_model
from serving.graph.names import QUERY_EMBEDDING
from serving.graph.release import Release
from tfrs_twotower.artifacts import seal
from tfrs_twotower.config import GateConfig
from tfrs_twotower.data.lines import breaks_lines
from tfrs_twotower.errors import BundleError

Check = Callable[[loading.LoadedModel], Mapping[str, Any]]
"""Takes the saved model as a server will load it, and raises to refuse it. Returns entries for the
manifest's details; the release gate compares their `measures` with those of the served version."""
CheckTogether = Callable[[Sequence[loading.LoadedModel]], Mapping[str, Any]]
"""The same for the models of all shards, whose answers a client merges."""


def _not_measured(_: object) -> Mapping[str, Any]:
    return {}


def write_bundle(
    bundle: Path,
    release: Release,
    check: Check = _not_measured,
    version: int | None = None,
    made_by: MadeBy | None = None,
) -> publishing.WrittenBundle:
    """Publishes the next version of a bundle, and removes versions beyond `keep_versions`.

    The version appears under its number only when it is complete.

    Args:
        bundle: the bundle's directory, `bundle/<name>`.
        release: what the version is made from.
        check: checks and measures the model.
        version: its number; by default the next.
        made_by: what makes it; by default an export.

    Raises:
        BundleError: see `write_releases` and `serving.bundle.publishing.publish`.
    """
    with publishing.stage_version(bundle, version) as staged:
        finished = write_releases(
            [(staged, release)],
            lambda models: check(models[0]),
            made_by=made_by or MadeBy(command=EXPORT),
        )
        return publishing.publish(finished)[0]


def write_releases(
    parts: Sequence[tuple[publishing.StagedVersion, Release]],
    check: CheckTogether = _not_measured,
    *,
    made_by: MadeBy,
    gate: GateConfig | None = None,
) -> list[publishing.FinishedVersion]:
    """Writes all files of a version, its checksums last; only `publish` remains to be done.

    Args:
        parts: the directory that is written to and what the version is made from; for shards, those
            of every shard.
        check: checks and measures the models, in the order of `parts`.
        made_by: what makes the version.
        gate: limits of the release gate; by default those of the release.

    Returns:
        The finished versions, in the order of `parts`.

    Raises:
        BundleError: a candidate id cannot be served, `check` refused the models, or the release
            gate did.
    """
    bundles, version = [staged.bundle for staged, _ in parts], parts[0][0].version
    gate = gate or parts[0][1].settings.export.gate
    figures = figures_of([release for _, release in parts])
    check_release(bundles, version, figures, gate)
    models = [_save_model(staged, release) for staged, release in parts]
    details = {MADE_BY: made_by.model_dump(mode="json"), **check(models)}
    figures = figures._replace(measures=details.get(MEASURES, {}))
    check_release(bundles, version, figures, gate)
    finished = []
    for (staged, release), model in zip(parts, models, strict=True):
        _write_extras(staged, release, model)
        _seal(staged, release, details)
        keep_versions = release.settings.export.keep_versions
        finished.append(publishing.FinishedVersion(staged, keep_versions, model))
    return finished


def figures_of(releases: Sequence[Release]) -> Figures:
    """What the gate compares of a version that is not measured yet."""
    num_candidates = sum(len(release.corpus) for release in releases)
    return Figures(num_candidates, min(release.k for release in releases))


def _save_model(staged: publishing.StagedVersion, release: Release) -> loading.LoadedModel:
    """Writes the model and the files of a refresh, and loads the model again."""
    _check_ids(release)
    _check_sizes(release)
    save_model(release, _model_version(staged, release), staged.directory)
    model = loading.load_model(staged.directory)
    if release.refresh is not None:
        blank = {name: tf.constant(value) for name, value in model.blank(QUERY_EMBEDDING).items()}
        blank_query = release.towers.query_tower(blank).numpy()[0]
        refresh_files.RefreshFiles(staged.directory).write(release, release.refresh, blank_query)
    return model


def _model_version(staged: publishing.StagedVersion, release: Release) -> str:
    return f"{staged.version}-{release.identity}"


def _seal(staged: publishing.StagedVersion, release: Release, details: Mapping[str, Any]) -> None:
    seal(
        staged.directory,
        kind="bundle",
        **release.lineage._asdict(),
        counts={"candidates": len(release.corpus), "k": release.k, "version": staged.version},
        details={
            "name": staged.bundle.name,
            "index": release.kind,
            "model_version": _model_version(staged, release),
            "memory": measures.memory_estimate(
                staged.directory, versions.newest_version(staged.bundle)
            ),
            **details,
        },
    )
    integrity.write_checksums(staged.directory)


def _write_extras(
    staged: publishing.StagedVersion, release: Release, model: loading.LoadedModel
) -> None:
    batch_sizes = release.settings.export.allowed_batch_sizes
    inputs = {name: model.inputs(name) for name in sorted(model.model.signatures)}
    warm_up.write_warmup_requests(staged.directory, staged.bundle.name, inputs, batch_sizes)
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
