"""Stage `export`: publishes the next version of each bundle of the run config."""

from contextlib import ExitStack

from pipelines.stages.context import StageContext, open_parent
from pipelines.stages.element_counts import check_counts, compare_with_parent
from pipelines.stages.releases import BundleChecks, read_release, releases_of_bundle
from serving.bundle import gate, parts, publishing, versions, writing
from tfrs_twotower import artifacts
from tfrs_twotower.artifacts.manifest import FileEntry, Kind, package_versions
from tfrs_twotower.config import BundleConfig
from tfrs_twotower.data.loading import load_corpus
from tfrs_twotower.errors import BundleError


def bundle_configs(context: StageContext) -> tuple[BundleConfig, ...]:
    """The bundles to write: those of the config, by default one with the name of the run.

    Raises:
        BundleError: two bundles have the same name.
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
    return artifacts.fingerprint(
        {
            "export": {**export, "bundles": bundles},
            "pre_ranking": context.config.pre_ranking is not None,
        }
    )


def run(context: StageContext) -> artifacts.Manifest:
    """Publishes the next version of every bundle, or of none; `export.keep_versions` versions stay.

    `bundle/manifest.json` lists the new versions; the manifest in a version has the checksums of
    its files. Bundles serve the cascade if the run config has `pre_ranking`, otherwise retrieval.

    Raises:
        BundleError: a bundle's vectors or lists differ from the offline ones, the artifacts were
            not made from each other, a candidate id cannot be served, or the release gate refused
            a version.
        LostElements: a bundle would not hold every candidate of the corpus once.
        ConfigError: `export.restricts` names something other than a feature with values.
        ArtifactError: a parent is missing, outdated or damaged.
    """
    layout, reporter = context.layout, context.reporter
    kinds: list[Kind] = ["preprocessed", "model", "embeddings", "index"]
    if context.config.pre_ranking is not None:
        kinds.append("pre_ranker")
    manifests: dict[str, artifacts.Manifest] = {kind: open_parent(context, kind) for kind in kinds}
    parents = parts.check_descent(manifests)
    settings = config_fingerprint(context)
    corpus = load_corpus(layout.preprocessed, context.spec)
    lineage = artifacts.Lineage(artifacts.fingerprint(context.spec), settings, parents)
    whole = read_release(context, corpus, lineage)
    checks = BundleChecks(context, corpus, whole)
    releases = []
    for settings_of_bundle in bundle_configs(context):
        of_bundle = releases_of_bundle(whole, settings_of_bundle, corpus)
        held = sum(len(release.corpus) for _, release in of_bundle)
        found = {"candidates": (f"candidates in the bundle {settings_of_bundle.name}", held)}
        check_counts("export", compare_with_parent(found, manifests["preprocessed"]))
        releases += of_bundle
    version = max(versions.next_version(layout.bundle / name) for name, _ in releases)
    with ExitStack() as stack:
        finished = []
        for num_done, (name, release) in enumerate(releases):
            reporter.progress("exporting", num_done, len(releases), name)
            staged = stack.enter_context(publishing.stage_version(layout.bundle / name, version))
            model = writing.write_release(staged, release, checks.of(release))
            finished.append(
                publishing.FinishedVersion(staged, context.config.export.keep_versions, model)
            )
        reporter.progress("exporting", len(releases), len(releases))
        (layout.bundle / artifacts.MANIFEST_NAME).unlink(missing_ok=True)
        written = publishing.publish(finished)
    for bundle in written:
        reporter.message(describe(bundle))
    return _write_manifest(context, lineage, written, len(corpus))


def describe(bundle: publishing.WrittenBundle) -> str:
    """One line about a version: its directory, its measures, its memory."""
    details = bundle.manifest.details
    measures = ", ".join(f"{name} {value:.4f}" for name, value in details[gate.MEASURES].items())
    version_mb, swap_mb = (details["memory"][key] / 1e6 for key in ("version_bytes", "swap_bytes"))
    measured = measures or "not measured: there are no judged queries"
    return (
        f"wrote {bundle.directory}: {measured}; about "
        f"{version_mb:,.1f} MB in memory, {swap_mb:,.1f} MB while a server changes versions"
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
