"""Bundles on disk: their versions, whose numbers only grow, and the shards of one corpus."""

import os
import re
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.bundle.server_files import pinned_version
from tfrs_twotower.artifacts import MANIFEST_NAME, replace_file, shard_of
from tfrs_twotower.errors import BundleError
from tfrs_twotower.ranking import LOWEST_SCORE, RowArray

SAVED_MODEL_NAME = "saved_model.pb"
HIGHEST_NAME = ".highest_version"
_SHARD_NAME = re.compile(r"^(?P<bundle>.+)-shard-(?P<shard>\d{5})-of-(?P<count>\d{5})$")
IdArray = npt.NDArray[np.object_]
ScoreArray = npt.NDArray[np.float32]


def list_versions(bundle: Path) -> list[int]:
    """Numbers of the versions in a bundle directory, oldest first."""
    if not bundle.is_dir():
        return []
    return sorted(
        int(child.name)
        for child in bundle.iterdir()
        if child.name.isascii() and child.name.isdigit() and child.is_dir()
    )


def existing_versions(bundle: Path) -> list[int]:
    """As `list_versions`, but at least one.

    Raises:
        BundleError: there is none.
    """
    numbers = list_versions(bundle)
    if not numbers:
        raise BundleError(
            f"{bundle}: there is no bundle. Expected a directory with integer versions, such as "
            "WORKDIR/bundle/NAME."
        )
    return numbers


def newest_version(bundle: Path) -> Path | None:
    """The directory of the newest version; None without any version."""
    versions = list_versions(bundle)
    return bundle / str(versions[-1]) if versions else None


def next_version(bundle: Path) -> int:
    """Seconds since 1970, or one more than the largest number ever used, whichever is larger.

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
    """Records on disk that a number is used, before its version appears."""
    replace_file(bundle / HIGHEST_NAME, f"{max(version, highest_version(bundle))}\n")


def served_version(bundle: Path) -> int | None:
    """The version that `models.config` serves, by default the newest; None without any version.

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
    """The directory of one version: the path itself, or the served version of the bundle there.

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


def workdir_of(path: Path) -> Path:
    """The working directory that a bundle, or a version of one, stands in: `WORKDIR/bundle/NAME`.

    The path is absolute; nothing says that there is a run in it.
    """
    bundle = path if list_versions(path) else path.parent
    return bundle.resolve().parent.parent


def version_directories(path: Path) -> list[Path]:
    """The directories of all versions of a bundle or of its shards; or the version at the path.

    Raises:
        BundleError: there is none.
    """
    if any(os.path.lexists(path / name) for name in (SAVED_MODEL_NAME, MANIFEST_NAME)):
        return [path]
    return [
        shard / str(number) for shard in find_shards(path) for number in existing_versions(shard)
    ]


def remove_old_versions(bundle: Path, keep: int, also_keep: Collection[int] = ()) -> list[int]:
    """Removes all but the newest `keep` versions, and the leftovers of killed exports.

    Args:
        bundle: the bundle's directory.
        keep: at least 1.
        also_keep: versions that stay regardless of their age.

    Returns:
        The versions that were removed.
    """
    removed = [version for version in list_versions(bundle)[:-keep] if version not in also_keep]
    for version in removed:
        # Under this name a version that is half removed by a killed process is a leftover.
        (bundle / str(version)).rename(bundle / f".{version}.partial")
    for leftover in bundle.glob(".*.partial"):
        shutil.rmtree(leftover)
    return removed


def shard_name(bundle: str, shard: int, num_shards: int) -> str:
    """Name of a shard's bundle, which is also its model name at the server."""
    return f"{bundle}-shard-{shard:05d}-of-{num_shards:05d}"


def bundle_names(bundle: str, num_shards: int) -> list[str]:
    """Names of the bundles that hold a corpus: of all shards, or its own without shards."""
    if num_shards == 1:
        return [bundle]
    return [shard_name(bundle, shard, num_shards) for shard in range(num_shards)]


def rows_of_shards(candidate_ids: Collection[str], num_shards: int) -> list[RowArray]:
    """The corpus rows of every shard, ascending.

    Raises:
        BundleError: a shard has no candidate.
    """
    shards = np.array([shard_of(name, num_shards) for name in candidate_ids], np.int64)
    rows = [np.flatnonzero(shards == shard) for shard in range(num_shards)]
    for shard, own in enumerate(rows):
        if not len(own):
            raise BundleError(
                f"export.shards: {num_shards} shards of {len(candidate_ids)} candidates leave "
                f"shard {shard} empty. Lower it."
            )
    return rows


def find_shards(bundle: Path) -> list[Path]:
    """The bundles that together hold a corpus: the one at this path, or its shards.

    Args:
        bundle: `bundle/NAME`, or any of `bundle/NAME-shard-...`, which stands for all of them.

    Raises:
        BundleError: a shard is missing, or there are several sets of shards.
    """
    own_match = _SHARD_NAME.match(bundle.name)
    name = own_match["bundle"] if own_match else bundle.name
    matches = [
        (path, _SHARD_NAME.match(path.name))
        for path in sorted(bundle.parent.glob(f"{name}-shard-*"))
    ]
    shards = [(path, match) for path, match in matches if match and match["bundle"] == name]
    if own_match:
        shards = [(path, match) for path, match in shards if match["count"] == own_match["count"]]
    elif bundle.is_dir() or not shards:
        return [bundle]
    numbers = [(int(match["shard"]), int(match["count"])) for _, match in shards]
    if numbers != [(shard, len(shards)) for shard in range(len(shards))]:
        raise BundleError(
            f"{bundle}: found the shards {', '.join(path.name for path, _ in shards)}; expected "
            "one complete set, 00000 to the last of its number. Remove what is left of earlier "
            "exports, name a shard of the set that is meant, or export again."
        )
    return [path for path, _ in shards]


def bundles_before(bundles: Sequence[Path]) -> list[Path]:
    """The bundles whose served version another one replaces.

    Args:
        bundles: the directory of a bundle, or of all its shards.

    Returns:
        The same directories; or, if they have no version yet, those of the newest version in
        another number of shards, if there is one.
    """
    if any(list_versions(bundle) for bundle in bundles):
        return list(bundles)
    own_match, directory = _SHARD_NAME.match(bundles[0].name), bundles[0].parent
    name = own_match["bundle"] if own_match else bundles[0].name
    layouts = {1: [directory / name]}
    for path in sorted(directory.glob(f"{name}-shard-*")):
        match = _SHARD_NAME.match(path.name)
        if match and match["bundle"] == name:
            layouts.setdefault(int(match["count"]), []).append(path)
    complete = [
        paths
        for count, paths in layouts.items()
        if len(paths) == count and all(list_versions(path) for path in paths)
    ]
    return max(
        complete,
        key=lambda paths: min(list_versions(path)[-1] for path in paths),
        default=list(bundles),
    )


def merge_lists(
    candidate_ids: Sequence[IdArray], scores: Sequence[ScoreArray], k: int
) -> tuple[IdArray, ScoreArray]:
    """Merges the lists of all shards into one list per query.

    Args:
        candidate_ids: bytes `[batch, k_of_the_shard]` from each shard; b"" where there is none.
        scores: float32, of the same shapes.
        k: length of the merged lists.

    Returns:
        Ids and scores `[batch, k]`, by score descending, then id ascending; places without a
        candidate have b"" and the lowest float32.
    """
    ids = np.concatenate(candidate_ids, axis=1)
    joined = np.concatenate(scores, axis=1)
    merged_ids = np.full((len(ids), k), b"", object)
    merged_scores = np.full((len(ids), k), LOWEST_SCORE, np.float32)
    for row in range(len(ids)):
        filled = [place for place, name in enumerate(ids[row]) if name]
        best = sorted(filled, key=lambda place: (-joined[row, place], ids[row, place]))[:k]
        merged_ids[row, : len(best)] = ids[row, best]
        merged_scores[row, : len(best)] = joined[row, best]
    return merged_ids, merged_scores
