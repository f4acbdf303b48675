"""Bundle versions: integers that only grow, and how many are kept.

A model server loads the child directories of a bundle whose names are integers, and never loads a
number again; so a number is never used twice.
"""

import shutil
import time
from pathlib import Path

from tfrs_twotower.errors import BundleError

SAVED_MODEL_NAME = "saved_model.pb"


def list_versions(bundle: Path) -> list[int]:
    """Versions in a bundle directory, oldest first."""
    if not bundle.is_dir():
        return []
    return sorted(
        int(child.name)
        for child in bundle.iterdir()
        if child.name.isascii() and child.name.isdigit() and child.is_dir()
    )


def next_version(bundle: Path) -> int:
    """Seconds since 1970, or one more than the newest version if that is not smaller."""
    newest = max(list_versions(bundle), default=0)
    return max(int(time.time()), newest + 1)


def resolve_version(path: Path) -> Path:
    """The directory of one version: the path itself, or the newest version inside it.

    Raises:
        BundleError: the path is neither a version nor a bundle with one.
    """
    if (path / SAVED_MODEL_NAME).is_file():
        return path
    versions = list_versions(path)
    if versions:
        return path / str(versions[-1])
    nested = [child.name for child in sorted(path.glob("*")) if list_versions(child)]
    hint = f" It holds the bundles {', '.join(nested)}; name one of them." if nested else ""
    raise BundleError(
        f"{path}: there is no bundle. Expected a directory with integer versions, such as "
        f"WORKDIR/bundle/NAME, or one such version.{hint} `twotower export` writes one."
    )


def remove_old_versions(bundle: Path, keep: int) -> list[int]:
    """Removes all but the newest `keep` versions, and what a killed export left.

    Returns:
        The versions that were removed.
    """
    removed = list_versions(bundle)[:-keep]
    for version in removed:
        shutil.rmtree(bundle / str(version))
    for leftover in bundle.glob(".*.partial"):
        shutil.rmtree(leftover)
    return removed
