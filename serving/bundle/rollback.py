"""Going back to an earlier version, and forward again, by `models.config`."""

from contextlib import ExitStack
from pathlib import Path

from serving.bundle.publishing import only_publisher_of
from serving.bundle.server_files import write_models_config
from serving.bundle.sharding import find_shards
from serving.bundle.versions import list_versions, served_version
from tfrs_twotower.artifacts import read_manifest, verify_files
from tfrs_twotower.errors import BundleError


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
            write_models_config(one, version)
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
            write_models_config(one)
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
