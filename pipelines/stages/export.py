"""Stage `export`: publishes the next version of each bundle of the run config."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from pipelines.stages import fingerprints
from pipelines.stages.context import StageContext, open_lineage
from pipelines.stages.element_counts import Compared, check_counts, compare_with_parent
from pipelines.stages.releases import BundleChecks, read_release, releases_of_bundle
from serving.bundle import gate, history, measures, publishing, versions, writing
from serving.bundle.shards_together import AGAINST_UNSHARDED
from serving.graph.since_export import SinceExport
from serving.refresh import undone
from tfrs_twotower import artifacts
from tfrs_twotower.artifacts.manifest import FileEntry, Kind, package_versions
from tfrs_twotower.data.loading import load_corpus

config_fingerprint = fingerprints.export


def run(context: StageContext) -> artifacts.Manifest:
    """Publishes the next version of every bundle, or of none; `export.keep_versions` versions stay.

    `bundle/manifest.json` lists the new versions; the manifest in a version has the checksums of
    its files. Bundles serve the cascade if the run config has `pre_ranking`, otherwise retrieval.

    Raises:
        BundleError: a bundle's vectors or lists differ from the offline ones, the index is of
            another corpus, a candidate id cannot be served, the release gate refused a version, or
            a version would undo refreshes and `export.refreshed` is `refuse`.
        LostElements: a bundle would not hold every candidate of its release once.
        ConfigError: `export.restricts` names something other than a feature with values.
        ArtifactError: a parent is missing or damaged, or was not made from the others.
    """
    layout, reporter = context.layout, context.reporter
    kinds: list[Kind] = ["preprocessed", "model", "embeddings", "index"]
    if context.config.pre_ranking is not None:
        kinds.append("pre_ranker")
    lineage, parents = open_lineage(context, kinds, config_fingerprint(context))
    corpus = load_corpus(layout.preprocessed, context.spec)
    whole = read_release(context, corpus, lineage)
    checks = BundleChecks(context, corpus, whole)
    found = {"candidates": ("candidates in the index", len(whole.corpus))}
    check_counts("export", compare_with_parent(found, parents["preprocessed"]))
    refreshed, shards = context.config.export.refreshed, context.config.export.shards
    bundles = {
        bundle: [layout.bundle / name for name in versions.bundle_names(bundle.name, shards)]
        for bundle in fingerprints.bundle_configs(context)
    }
    version = max(versions.next_version(path) for paths in bundles.values() for path in paths)
    with ExitStack() as stack:
        staged = [
            [stack.enter_context(publishing.stage_version(path, version)) for path in paths]
            for paths in bundles.values()
        ]
        # Under the lock, so that no refresh comes between; and of all bundles, before one is made.
        settled = [undone.settle(whole, corpus, paths, refreshed) for paths in bundles.values()]
        finished = []
        for num_done, bundle in enumerate(bundles):
            reporter.progress("exporting", num_done, len(bundles), bundle.name)
            own = settled[num_done]
            releases = releases_of_bundle(own.release, bundle, own.corpus)
            held, expected = sum(len(part.corpus) for part in releases), len(own.release.corpus)
            what = f"candidates in the bundle {bundle.name}"
            check_counts("export", [Compared(what, held, expected, "its release has")])
            finished += writing.write_releases(
                list(zip(staged[num_done], releases, strict=True)),
                checks.of(own.release, releases),
                made_by=_made_by(own.undone, bundle.name, context),
            )
        reporter.progress("exporting", len(bundles), len(bundles))
        (layout.bundle / artifacts.MANIFEST_NAME).unlink(missing_ok=True)
        written = publishing.publish(finished)
    for line in describe(written):
        reporter.message(line)
    return _write_manifest(context, lineage, written, len(corpus))


def _made_by(refreshes: SinceExport, name: str, context: StageContext) -> history.MadeBy:
    if not len(refreshes):
        return history.MadeBy(command=history.EXPORT)
    choice = context.config.export.refreshed
    said = {
        "keep": "is kept; by the tables alone",
        "drop": "is dropped",
    }
    context.reporter.message(f"{name}: what refreshes changed {said[choice]}: {refreshes}")
    return history.MadeBy(command=history.EXPORT, arguments=f"--{choice}-refreshed")


def describe(written: Iterable[publishing.WrittenBundle]) -> Iterator[str]:
    """A line about each version: its directory, its measures, its memory.

    Shards are measured together, so that only the first one has measures.
    """
    earlier = ""
    for bundle in written:
        details = bundle.manifest.details
        measured = _measures_of(details) or "not measured: there are no judged queries"
        if details["model_version"] == earlier:
            measured = "measured with the shard before"
        earlier = details["model_version"]
        version_mb, swap_mb = (
            details["memory"][key] / 1e6 for key in ("version_bytes", "swap_bytes")
        )
        yield (
            f"wrote {bundle.directory}: {measured}; about {version_mb:,.1f} MB in memory, "
            f"{swap_mb:,.1f} MB while a server changes versions"
        )


def _measures_of(details: Mapping[str, Any]) -> str:
    worst = details.get(measures.WORST_DECILE, {})
    measured = ", ".join(
        f"{name} {value:.4f}" + (f" (worst tenth {worst[name]:.4f})" if name in worst else "")
        for name, value in details[gate.MEASURES].items()
    )
    measured_on = [f"{name}: {on}" for name, on in details.get(measures.MEASURED_ON, {}).items()]
    if measured and measured_on:
        measured += f" ({'; '.join(measured_on)})"
    against = details.get(AGAINST_UNSHARDED)
    if against is None:
        return measured
    recall = ""
    if "unsharded_recall" in against:
        recall = f"recall@{against['k']} {against['unsharded_recall']:.4f}; "
    return (
        f"the merged lists of all shards: {measured} (against one bundle of the whole corpus: "
        f"{recall}{against['equal_lists']} of {against['queries']} lists are equal, overlap "
        f"{against['overlap']:.4f})"
    )


def _write_manifest(
    context: StageContext,
    lineage: artifacts.Lineage,
    written: list[publishing.WrittenBundle],
    num_candidates: int,
) -> artifacts.Manifest:
    directory = context.layout.bundle
    files = {}
    for bundle in written:
        path = bundle.directory / artifacts.MANIFEST_NAME
        name = path.relative_to(directory).as_posix()
        files[name] = FileEntry(sha256=artifacts.sha256_file(path), size_bytes=path.stat().st_size)
    manifest = artifacts.Manifest(
        kind="bundle",
        **lineage._asdict(),
        counts={
            "bundles": len(written),
            "candidates": num_candidates,
            "k": written[0].manifest.counts["k"],
        },
        files=files,
        packages=package_versions(),
        details={"versions": {bundle.directory.parent.name: bundle.version for bundle in written}},
    )
    artifacts.replace_file(
        directory / artifacts.MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n"
    )
    return manifest
