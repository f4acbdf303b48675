"""What an export would undo of earlier refreshes, and a release that keeps it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from serving.bundle import integrity, versions
from serving.bundle.refresh_files import RefreshFiles
from serving.graph.release import Release
from serving.graph.since_export import SinceExport, form_of, joined
from serving.refresh.changes import encode_candidates
from serving.refresh.refreshed_release import Refreshable, RefreshRequest, refreshed_release
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import BundleError, CorruptArtifact


class SettledRelease(NamedTuple):
    """A release for which it is settled what becomes of earlier refreshes."""

    release: Release
    corpus: Corpus
    """Its candidates with raw features."""
    undone: SinceExport
    """What the export undoes, or would undo if it did not keep it."""


def settle(
    release: Release,
    corpus: Corpus,
    bundles: Sequence[Path],
    choice: Literal["refuse", "keep", "drop"],
) -> SettledRelease:
    """Looks up what refreshes changed in the served version, and keeps, drops or refuses it.

    Args:
        release: what the next version is made from.
        corpus: its candidates with raw features.
        bundles: directories of the bundle, or of all its shards; they need not have a version.
        choice: `export.refreshed`.

    Raises:
        CorruptArtifact: what was refreshed cannot be read, and `choice` is not `drop`.
        BundleError: something would be undone and `choice` is `refuse`, or it cannot be kept.
        EmbeddingError, IndexQualityError: see `refreshed_release`.
    """
    assert release.refresh is not None
    name = ", ".join(map(str, bundles))
    try:
        undone = _refreshes_of(bundles).undone_by(corpus, release.refresh.hashes)
    except CorruptArtifact as cause:
        if choice == "drop":
            return SettledRelease(release, corpus, SinceExport())
        raise CorruptArtifact(
            f"{name}: what `twotower refresh` changed since the last export cannot be read "
            f"({str(cause).removesuffix(' Export the bundle again.')}). Export with --set "
            "export.refreshed=drop (`twotower export --drop-refreshed`), which takes the "
            "candidates of the tables, and refresh again."
        ) from cause
    if not len(undone) or choice == "drop":
        return SettledRelease(release, corpus, undone)
    if choice == "refuse":
        raise BundleError(
            f"{name}: `twotower refresh` changed candidates of the served version since its "
            f"export, and this export would undo it: {undone}. Nothing was published. Correct the "
            "tables and run again; or export with --set export.refreshed=keep (`twotower export "
            "--keep-refreshed`), which makes the same changes to the new version, or with --set "
            "export.refreshed=drop (`--drop-refreshed`), which takes the candidates of the tables."
        )
    if len(undone.given) and form_of(undone.given.raw) != form_of(corpus.raw):
        raise BundleError(
            f"{name}: the refreshed candidates cannot be kept ({undone}): they have the features "
            f"{', '.join(sorted(undone.given.raw))}, and this export has "
            f"{', '.join(sorted(corpus.raw))}, or those in another form. Export with --set "
            "export.refreshed=drop, and refresh with a table that has the new features."
        )
    request = RefreshRequest(undone.given, undone.withdrawn)
    plan = Refreshable.of_release(release).plan(request)
    settled = refreshed_release(plan, encode_candidates)
    raw = plan.changes.columns(corpus.raw, plan.candidates.raw)
    ids, titles = settled.corpus.ids, settled.corpus.titles
    return SettledRelease(settled, Corpus(ids, titles, raw), undone)


def _refreshes_of(bundles: Sequence[Path]) -> SinceExport:
    """What refreshes changed in the served version of all bundles together."""
    before = versions.bundles_before(bundles)
    served = [(bundle, versions.served_version(bundle)) for bundle in before]
    files = [RefreshFiles(bundle / str(version)) for bundle, version in served if version]
    for own in files:
        if own.have_changes():
            integrity.verified_manifest(own.version_dir)
    return joined([own.since_export() for own in files])
