"""Publishes versions (staged, checked, renamed to their number), and rolls back to earlier ones."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
from tfrs_twotower.artifacts import Manifest, replace_file
from tfrs_twotower.errors import BundleError

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""Errors of file systems without locks, such as some network mounts."""


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


@contextmanager
def only_publisher_of(bundle: Path) -> Iterator[None]:
    """Holds the lock of the directory; the kernel releases it however the process ends."""
    descriptor = os.open(bundle, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BundleError(
                f"{bundle}: another export, refresh or rollback is at work here. Wait until it "
                "ends."
            ) from None
        except OSError as cause:
            if cause.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


def roll_back(bundle: Path, version: int | None = None) -> int:
    """Serves an earlier version, after verifying its files.

    Publishing a new version, or `undo_rollback`, makes the newest version the served one again.

    Args:
        bundle: the bundle's directory, `bundle/<name>`, or shards (see `versions.find_shards`),
            of which all are rolled back, or none.
        version: its number; by default the latest version before the served one.

    Returns:
        The number of the version that is served now.

    Raises:
        ArtifactError: a file of that version was changed, is missing, or does not belong to it.
        BundleError: there is no such version.
    """
    shards = versions.find_shards(bundle)
    with ExitStack() as stack:
        for shard in shards:
            versions.existing_versions(shard)  # without a bundle there is no directory to lock
            stack.enter_context(only_publisher_of(shard))
            numbers = versions.existing_versions(shard)
            version = _version_before(shard, numbers) if version is None else version
            if version not in numbers:
                raise BundleError(
                    f"{shard}: there is no version {version}; there are "
                    f"{', '.join(map(str, numbers))}."
                )
            integrity.verified_manifest(shard / str(version))
        for shard in shards:
            server_files.write_models_config(shard, version)
    assert version is not None  # there is at least one bundle
    return version


def undo_rollback(bundle: Path) -> int:
    """Serves the newest version of a bundle, or of all its shards, again, and returns its number.

    Raises:
        ArtifactError: a file of that version was changed, is missing, or does not belong to it.
        BundleError: the bundle has no version, or its shards have different newest ones.
    """
    shards = versions.find_shards(bundle)
    with ExitStack() as stack:
        newest = {}
        for shard in shards:
            versions.existing_versions(shard)
            stack.enter_context(only_publisher_of(shard))
            newest[shard.name] = versions.existing_versions(shard)[-1]
            integrity.verified_manifest(shard / str(newest[shard.name]))
        numbers = set(newest.values())
        if len(numbers) > 1:
            found = ", ".join(f"{name} {number}" for name, number in newest.items())
            raise BundleError(
                f"{bundle}: the newest versions of its shards differ: {found}. A publication was "
                "interrupted, and answers of different versions are not merged. Leave the rollback "
                "as it is; the next refresh or export publishes one version of all shards."
            )
        for shard in shards:
            server_files.write_models_config(shard)
    return numbers.pop()


def _version_before(bundle: Path, numbers: list[int]) -> int:
    served = versions.served_version(bundle)
    earlier = [version for version in numbers if served is None or version < served]
    if not earlier:
        raise BundleError(
            f"{bundle}: version {served} is served and there is no earlier one; there are "
            f"{', '.join(map(str, numbers))}. `--to VERSION` names another."
        )
    return earlier[-1]
