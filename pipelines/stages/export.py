"""Stage `export`: the next version of each bundle that the run config asks for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.stages.context import StageContext
from pipelines.stages.parents import open_parent
from serving.bundle import BundleOptions, BundleSource, WrittenBundle, write_bundle
from serving.loading import LoadedModel
from serving.parity import check_embeddings, sample_rows
from serving.signatures import CANDIDATE_EMBEDDING, QUERY_EMBEDDING
from tfrs_twotower.artifacts import MANIFEST_NAME, Manifest, fingerprint, sha256_file
from tfrs_twotower.artifacts.manifest import FileEntry, package_versions
from tfrs_twotower.config import BundleConfig
from tfrs_twotower.data.corpus import load_corpus
from tfrs_twotower.data.evaluation_queries import load_evaluation_queries
from tfrs_twotower.errors import BundleError
from tfrs_twotower.index.embeddings import (
    Embeddings,
    read_candidate_embeddings,
    read_query_embeddings,
)
from tfrs_twotower.index.storage import load_index
from tfrs_twotower.towers.storage import load_towers

_COMPARED_ROWS = 32


def bundle_configs(context: StageContext) -> tuple[BundleConfig, ...]:
    """The bundles to write: those of the config, or one called after the run.

    Raises:
        BundleError: two have the same name.
    """
    config = context.config
    bundles = config.export.bundles or (BundleConfig(name=config.name),)
    names = [bundle.name for bundle in bundles]
    if len(set(names)) != len(names):
        raise BundleError(
            f"export.bundles: found the names {', '.join(names)}; each must be different."
        )
    return bundles


def config_fingerprint(context: StageContext) -> str:
    """Hash of the settings that the stage reads."""
    bundles = [bundle.model_dump(mode="json") for bundle in bundle_configs(context)]
    export = context.config.export.model_dump(mode="json")
    return fingerprint({"export": {**export, "bundles": bundles}})


def run(context: StageContext) -> Manifest:
    """Writes the next version of each bundle; earlier versions stay, up to `keep_versions`.

    `bundle/manifest.json` lists the versions that were written; the files of a version are
    checksummed in the manifest inside it.

    Raises:
        BundleError: a bundle's vectors differ from the offline embeddings, or a candidate id
            cannot be served; the version is not published then.
        ArtifactError: a parent is missing, outdated or damaged.
    """
    layout, export, reporter = context.layout, context.config.export, context.reporter
    open_parent(context, "preprocessed")
    parents = {
        kind: open_parent(context, kind).fingerprint for kind in ("model", "embeddings", "index")
    }
    towers = load_towers(layout.model)
    index = load_index(layout.index)
    settings = config_fingerprint(context)
    source = BundleSource(context.spec, towers.query, towers.candidate, index, parents, settings)
    check = _parity_check(context)
    configs = bundle_configs(context)
    (layout.bundle / MANIFEST_NAME).unlink(missing_ok=True)
    written = []
    for done, config in enumerate(configs):
        reporter.progress("exporting", done, len(configs), config.name)
        options = BundleOptions(
            name=config.name,
            exact=config.index == "brute_force",
            k=export.k,
            max_excluded=export.max_excluded,
            allowed_batch_sizes=export.allowed_batch_sizes,
            keep_versions=export.keep_versions,
        )
        written.append(write_bundle(layout.bundle / config.name, source, options, check))
        reporter.message(f"wrote {written[-1].directory}")
    reporter.progress("exporting", len(configs), len(configs))
    if context.config.pre_ranking is not None:
        reporter.message("bundles serve retrieval; the pre-ranker is evaluated offline only")
    return _write_manifest(context, parents, settings, written)


def _parity_check(context: StageContext) -> Callable[[LoadedModel], None]:
    """A check that a saved model's towers give the offline embeddings of some records."""
    layout, spec = context.layout, context.spec
    corpus = load_corpus(layout.preprocessed, spec)
    queries = load_evaluation_queries(layout.preprocessed, "test", spec, corpus)
    candidates = _compared(corpus.ids, corpus.raw, read_candidate_embeddings(layout.embeddings))
    compared = {
        QUERY_EMBEDDING: _compared(
            queries.query_ids, queries.raw, read_query_embeddings(layout.embeddings, "test")
        ),
        CANDIDATE_EMBEDDING: candidates,
    }

    def check(model: LoadedModel) -> None:
        for signature, (raw, expected) in compared.items():
            check_embeddings(model, signature, raw, expected)

    return check


def _compared(
    ids: npt.NDArray[np.object_], raw: dict[str, npt.NDArray[Any]], embeddings: Embeddings
) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.float32]]:
    if [name.decode() for name in ids.tolist()] != embeddings.ids:
        raise BundleError(
            f"export: the embeddings are of {len(embeddings.ids)} other records than the "
            f"{len(ids)} of the examples. Run embed, build-index and export again."
        )
    rows = sample_rows(raw, _COMPARED_ROWS)
    return {name: values[rows] for name, values in raw.items()}, embeddings.vectors[rows]


def _write_manifest(
    context: StageContext, parents: dict[str, str], settings: str, written: list[WrittenBundle]
) -> Manifest:
    directory = context.layout.bundle
    files = {}
    for bundle in written:
        path = bundle.directory / MANIFEST_NAME
        name = path.relative_to(directory).as_posix()
        files[name] = FileEntry(sha256=sha256_file(path), size_bytes=path.stat().st_size)
    manifest = Manifest(
        kind="bundle",
        spec_fingerprint=fingerprint(context.spec),
        config_fingerprint=settings,
        parents=parents,
        counts={
            "bundles": len(written),
            "candidates": written[0].manifest.counts["candidates"],
            "k": written[0].manifest.counts["k"],
        },
        files=files,
        packages=package_versions(),
        details={"versions": {bundle.directory.parent.name: bundle.version for bundle in written}},
    )
    partial = directory / f".{MANIFEST_NAME}.partial"
    partial.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial.replace(directory / MANIFEST_NAME)
    return manifest
