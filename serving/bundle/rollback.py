"""Rolls a bundle back to an earlier version and forward again, under the lock of its publishers.

Nothing here loads TensorFlow: what is wrong with a bundle is said at once.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from serving.bundle import integrity, server_files, versions
from tfrs_twotower.errors import BundleError

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""Errors of file systems without locks, such as some network mounts."""


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
