"""Publishes versions: staged, checked, and renamed to their number."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.bundle import (
    history,
    integrity,
    loading,
    parts,
    server_files,
    signing_keys,
    versions,
)
from serving.bundle.rollback import only_publisher_of
from tfrs_twotower.artifacts import Manifest, replace_file
from tfrs_twotower.errors import BundleError


@dataclass(frozen=True)
class StagedVersion:
    """A version that is being written, in a directory that servers ignore."""

    bundle: Path
    version: int
    directory: Path


@dataclass(frozen=True)
class FinishedVersion:
    """A version that is complete and sealed, but not published yet."""

    staged: StagedVersion
    keep_versions: int
    """Number of versions of the bundle that stay on disk."""
    model: loading.LoadedModel
    """The model, loaded from the staged directory."""


@dataclass(frozen=True)
class WrittenBundle:
    """A published version."""

    directory: Path
    version: int
    manifest: Manifest
    removed_versions: list[int]


@contextmanager
def stage_version(bundle: Path, version: int | None = None) -> Iterator[StagedVersion]:
    """Creates a directory for the next version, and removes it at the end unless it was published.

    A new bundle whose first version is not published leaves no directory either.

    Args:
        bundle: the bundle's directory, `bundle/<name>`; created if it does not exist.
        version: its number, larger than every earlier one; by default the next.

    Raises:
        BundleError: another process is writing a version of this bundle, or the number was used.
        ConfigError: the key that should sign the version cannot be read.
    """
    signing_keys.signing_key()
    is_new = not bundle.exists()
    bundle.mkdir(parents=True, exist_ok=True)
    with only_publisher_of(bundle):
        number = versions.next_version(bundle) if version is None else version
        _refuse_used(bundle, number)
        staging = bundle / f".{number}.partial"
        if staging.exists():  # left by a killed export: the lock excludes a running one
            shutil.rmtree(staging)
        staging.mkdir()
        try:
            yield StagedVersion(bundle, number, staging)
        finally:
            if staging.exists():
                shutil.rmtree(staging)
            if is_new and not any(bundle.iterdir()):
                bundle.rmdir()


def publish(finished: Sequence[FinishedVersion]) -> list[WrittenBundle]:
    """Publishes sealed versions, and makes the newest version of each bundle the served one.

    All versions are checked before the first one appears. Versions beyond the newest
    `keep_versions` are removed, except for two: the one that `models.config` served until now stays
    until the next publication, because servers notice a change of that file late; an export stays
    until another export replaces it, however many refreshes follow.

    Raises:
        ArtifactError: there is no manifest, or a file does not match it.
        BundleError: a version's parts do not belong together, its number was used, or
            `models.config` cannot be read.
    """
    checked = [
        (version, _check(version), server_files.pinned_version(version.staged.bundle))
        for version in finished
    ]
    return [_make_visible(version, manifest, pinned) for version, manifest, pinned in checked]


def _check(finished: FinishedVersion) -> Manifest:
    staged = finished.staged
    key = signing_keys.signing_key()
    own_key = None if key is None else key.public_key()
    manifest = integrity.verify_version(staged.directory, own_key).manifest
    parts.check_parts(finished.model, manifest, staged.version)
    _refuse_used(staged.bundle, staged.version)
    return manifest


def _make_visible(
    finished: FinishedVersion, manifest: Manifest, pinned: int | None
) -> WrittenBundle:
    staged = finished.staged
    bundle, version = staged.bundle, staged.version
    versions.note_version(bundle, version)
    destination = bundle / str(version)
    staged.directory.rename(destination)
    server_files.write_models_config(bundle)
    replace_file(bundle / server_files.MONITORING_NAME, server_files.monitoring_config())
    kept = history.kept_exports(bundle, version) | {version if pinned is None else pinned}
    removed = versions.remove_old_versions(bundle, finished.keep_versions, kept)
    return WrittenBundle(destination, version, manifest, removed)


def _refuse_used(bundle: Path, version: int) -> None:
    highest = versions.highest_version(bundle)
    if version <= highest:
        raise BundleError(
            f"{bundle}: version {version} cannot be published: numbers up to {highest} are used "
            "up, and a model server never loads a number again. Start again, for a new number."
        )
