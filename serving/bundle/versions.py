"""Bundle versions: integers that only grow, which of them is served, and how many are kept.

A model server loads the child directories of a bundle whose names are integers, and never loads a
number again; so a number is never used twice, whether or not its version is still there. The
largest one ever given out stands in `.highest_version`.
"""

import shutil
import time
from pathlib import Path

from serving.bundle.server_files import pinned_version
from tfrs_twotower.artifacts import replace_file
from tfrs_twotower.errors import BundleError

SAVED_MODEL_NAME = "saved_model.pb"
HIGHEST_NAME = ".highest_version"


def list_versions(bundle: Path) -> list[int]:
    """Versions in a bundle directory, oldest first."""
    if not bundle.is_dir():
        return []
    return sorted(
        int(child.name)
        for child in bundle.iterdir()
        if child.name.isascii() and child.name.isdigit() and child.is_dir()
    )


def newest_version(bundle: Path) -> Path | None:
    """The directory of the newest version; None where there is none."""
    versions = list_versions(bundle)
    return bundle / str(versions[-1]) if versions else None


def next_version(bundle: Path) -> int:
    """Seconds since 1970, or one more than the largest number ever used if that is not smaller.

    Raises:
        BundleError: the note of the largest number was damaged.
    """
    return max(int(time.time()), highest_version(bundle) + 1)


def highest_version(bundle: Path) -> int:
    """The largest number that a version of this bundle ever had; 0 if there was none.

    Raises:
        BundleError: the note of it was damaged.
    """
    path = bundle / HIGHEST_NAME
    noted = 0
    if path.exists():
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        if not (text.isascii() and text.isdigit()):
            raise BundleError(
                f"{path}: found {text[:40]!r}, expected the largest version number that was ever "
                "published here. Write that number into it, so that none is used twice."
            )
        noted = int(text)
    return max([noted, *list_versions(bundle)])


def note_version(bundle: Path, version: int) -> None:
    """Keeps in mind that a number is used, before its version appears."""
    replace_file(bundle / HIGHEST_NAME, f"{max(version, highest_version(bundle))}\n")


def served_version(bundle: Path) -> int | None:
    """The version that `models.config` serves, or the newest; None where there is none.

    Raises:
        BundleError: `models.config` cannot be read, or serves a version that is not there.
    """
    versions = list_versions(bundle)
    pinned = pinned_version(bundle)
    if pinned is None:
        return versions[-1] if versions else None
    if pinned not in versions:
        raise BundleError(
            f"{bundle}: models.config serves version {pinned}, which is not there; there are "
            f"{', '.join(map(str, versions)) or 'none'}. `twotower rollback BUNDLE --undo` goes "
            "back to the newest."
        )
    return pinned


def resolve_version(path: Path) -> Path:
    """The directory of one version: the path itself, or the version that is served inside it.

    Raises:
        BundleError: the path is neither a version nor a bundle with one.
    """
    if (path / SAVED_MODEL_NAME).is_file():
        return path
    version = served_version(path)
    if version is not None:
        return path / str(version)
    nested = [child.name for child in sorted(path.glob("*")) if list_versions(child)]
    shards = [child.name for child in sorted(path.parent.glob(f"{path.name}-shard-*"))]
    hint = ""
    if nested:
        hint = f" It holds the bundles {', '.join(nested)}; name one of them."
    elif shards:
        hint = f" It is split into {', '.join(shards)}, of which one can be named."
    raise BundleError(
        f"{path}: there is no bundle. Expected a directory with integer versions, such as "
        f"WORKDIR/bundle/NAME, or one such version.{hint} `twotower export` writes one."
    )


def remove_old_versions(bundle: Path, keep: int, also_keep: int | None = None) -> list[int]:
    """Removes all but the newest `keep` versions, and what a killed export left.

    Args:
        bundle: the bundle's directory.
        keep: at least 1.
        also_keep: a version that stays whatever its age.

    Returns:
        The versions that were removed.
    """
    removed = [version for version in list_versions(bundle)[:-keep] if version != also_keep]
    for version in removed:
        shutil.rmtree(bundle / str(version))
    for leftover in bundle.glob(".*.partial"):
        shutil.rmtree(leftover)
    return removed
