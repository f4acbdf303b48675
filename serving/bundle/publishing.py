"""Publishes a version (staged, checked, renamed to its number), and goes back to earlier ones."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.bundle import loading, parts, server_files
from serving.bundle.versions import (
    find_shards,
    highest_version,
    list_versions,
    next_version,
    note_version,
    remove_old_versions,
    served_version,
)
from tfrs_twotower.artifacts import Manifest, read_manifest, replace_file, verify_files
from tfrs_twotower.errors import BundleError

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What a file system without locks answers, as some network mounts are."""


@dataclass(frozen=True)
class StagedVersion:
    """A version that is being written; no server sees it."""

    bundle: Path
    version: int
    directory: Path


@dataclass(frozen=True)
class WrittenBundle:
    """A version that was published."""

    directory: Path
    version: int
    manifest: Manifest
    removed_versions: list[int]


@contextmanager
def stage_version(bundle: Path, version: int | None = None) -> Iterator[StagedVersion]:
    """A fresh directory for the next version; it is gone at the end unless it was published.

    Args:
        bundle: the bundle's directory, `bundle/<name>`; it is made.
        version: its number, larger than every earlier one; by default the next.

    Raises:
        BundleError: somebody else is writing a version of this bundle, or the number is used up.
    """
    bundle.mkdir(parents=True, exist_ok=True)
    with only_publisher_of(bundle):
        number = next_version(bundle) if version is None else version
        _refuse_used(bundle, number)
        staging = bundle / f".{number}.partial"
        if staging.exists():  # a killed export left it: nobody else is at work here
            shutil.rmtree(staging)
        staging.mkdir()
        try:
            yield StagedVersion(bundle, number, staging)
        finally:
            if staging.exists():
                shutil.rmtree(staging)


@dataclass(frozen=True)
class FinishedVersion:
    """A version that is written and sealed."""

    staged: StagedVersion
    keep_versions: int
    """How many versions of its bundle stay."""
    model: loading.LoadedModel
    """What TensorFlow loaded from the staged directory."""


def publish(finished: Sequence[FinishedVersion]) -> list[WrittenBundle]:
    """Makes sealed versions visible, and the newest version of each bundle the served one.

    All of them are checked before the first one appears. Versions beyond the newest
    `keep_versions` are removed; one that `models.config` served until now stays until the next
    time, because servers notice the change of that file late.

    Raises:
        ArtifactError: there is no manifest, or a file does not match it.
        BundleError: a version's parts do not belong together, its number is used up, or
            `models.config` cannot be read.
    """
    checked = [
        (one, _check(one), server_files.pinned_version(one.staged.bundle)) for one in finished
    ]
    return [_show(one, manifest, pinned) for one, manifest, pinned in checked]


def _check(finished: FinishedVersion) -> Manifest:
    staged = finished.staged
    manifest = read_manifest(staged.directory, "bundle")
    verify_files(staged.directory, manifest)
    parts.check_parts(finished.model, manifest, staged.version)
    _refuse_used(staged.bundle, staged.version)
    return manifest


def _show(finished: FinishedVersion, manifest: Manifest, pinned: int | None) -> WrittenBundle:
    staged = finished.staged
    bundle, version = staged.bundle, staged.version
    note_version(bundle, version)
    destination = bundle / str(version)
    staged.directory.rename(destination)
    server_files.write_models_config(bundle)
    replace_file(bundle / server_files.MONITORING_NAME, server_files.monitoring_config())
    removed = remove_old_versions(bundle, finished.keep_versions, also_keep=pinned)
    return WrittenBundle(destination, version, manifest, removed)


def _refuse_used(bundle: Path, version: int) -> None:
    highest = highest_version(bundle)
    if version <= highest:
        raise BundleError(
            f"{bundle}: version {version} cannot be published: numbers up to {highest} are used "
            "up, and a model server never loads a number again. Start again, for a new number."
        )


@contextmanager
def only_publisher_of(bundle: Path) -> Iterator[None]:
    """Holds the directory's lock; the kernel releases it when the process ends, however."""
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
    """Makes an earlier version the one that is served, after its checksums were verified.

    Publishing a new version, or `undo_rollback`, makes the newest version the served one again.

    Args:
        bundle: the bundle's directory, `bundle/<name>`; of shards, see `find_shards`: all of them
            go back, or none.
        version: by default the latest one before the served one.

    Returns:
        The version that is served now.

    Raises:
        ArtifactError: a file of that version was changed or is missing.
        BundleError: there is no such version.
    """
    bundles = find_shards(bundle)
    with ExitStack() as stack:
        for one in bundles:
            _versions_of(one)
            stack.enter_context(only_publisher_of(one))
            versions = _versions_of(one)
            version = _before(one, versions) if version is None else version
            if version not in versions:
                raise BundleError(
                    f"{one}: there is no version {version}; there are "
                    f"{', '.join(map(str, versions))}."
                )
            directory = one / str(version)
            verify_files(directory, read_manifest(directory, "bundle"))
        for one in bundles:
            server_files.write_models_config(one, version)
    assert version is not None  # there is at least one bundle
    return version


def undo_rollback(bundle: Path) -> int:
    """Makes the newest version, of all shards, the one that is served again, and returns it.

    Raises:
        BundleError: the bundle has no version.
    """
    newest = 0
    for one in find_shards(bundle):
        newest = _versions_of(one)[-1]
        with only_publisher_of(one):
            server_files.write_models_config(one)
    return newest


def _versions_of(bundle: Path) -> list[int]:
    versions = list_versions(bundle)
    if not versions:
        raise BundleError(
            f"{bundle}: there is no bundle. Expected a directory with integer versions, such as "
            "WORKDIR/bundle/NAME."
        )
    return versions


def _before(bundle: Path, versions: list[int]) -> int:
    served = served_version(bundle)
    earlier = [version for version in versions if served is None or version < served]
    if not earlier:
        raise BundleError(
            f"{bundle}: version {served} is served and there is no earlier one; there are "
            f"{', '.join(map(str, versions))}. `--to VERSION` names another."
        )
    return earlier[-1]
