"""Shards: one corpus as several bundles, and one answer out of theirs.

`twotower export RUN --shards 4` (`export.shards: 4`) writes, instead of `bundle/NAME`, the bundles
`bundle/NAME-shard-00000-of-00004` to `bundle/NAME-shard-00003-of-00004`. Each is a whole bundle:
same signatures, same towers, same `k`, same version number and so the same `model_version`; but a
candidate lies in one of them only, chosen by a hash of its id. A shard with fewer than k candidates
answers with shorter lists.

A client asks all shards the same and merges each signature's lists with `merge_lists`: by score
descending, then by the bytes of the id ascending. Answers of different `model_version`s must not be
merged; while a new version is rolled out, ask again.

* `candidate_generation`: the merged answer is that of the unsharded bundle, for exact search always
  (a corpus row is the rank of its id's bytes, so that ties fall alike), for an approximate index as
  far as it is exact.
* `serving_default`, the cascade: every shard scores its own best `num_candidates` again, so that
  what is scored again is a superset of what the unsharded bundle would take. The merged answer is
  the best k of that superset: equal where both pools are the same (a pool as large as the corpus),
  and otherwise no final score of it is lower than the unsharded one's at the same place.
* `pre_ranking`: a shard gives the lowest float32 to ids that it does not hold; the largest score of
  an id over all shards is the unsharded one.
* `query_embedding`, `candidate_embedding`: any shard's answer is that of all.

`exclude_ids`, `allow` and `deny` go to every shard as they are.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.errors import BundleError
from tfrs_twotower.ranking import LOWEST_SCORE, RowArray

_NAME = re.compile(r"^(?P<bundle>.+)-shard-(?P<shard>\d{5})-of-(?P<count>\d{5})$")
IdArray = npt.NDArray[np.object_]
ScoreArray = npt.NDArray[np.float32]


def shard_name(bundle: str, shard: int, num_shards: int) -> str:
    """Name of a shard's bundle, which is the model's name at the server."""
    return f"{bundle}-shard-{shard:05d}-of-{num_shards:05d}"


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
    """The bundles that hold a corpus together: the one at this path, or its shards.

    Args:
        bundle: `bundle/NAME`, or one of `bundle/NAME-shard-...`, which stands for all of them.

    Raises:
        BundleError: a shard is missing, or there are several sets of shards.
    """
    one = _NAME.match(bundle.name)
    name = one["bundle"] if one else bundle.name
    named_alike = [
        (path, _NAME.match(path.name)) for path in sorted(bundle.parent.glob(f"{name}-shard-*"))
    ]
    shards = [(path, match) for path, match in named_alike if match and match["bundle"] == name]
    if one:
        shards = [(path, match) for path, match in shards if match["count"] == one["count"]]
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


def merge_lists(
    candidate_ids: Sequence[IdArray], scores: Sequence[ScoreArray], k: int
) -> tuple[IdArray, ScoreArray]:
    """One list of each query out of its lists from all shards.

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
        there = [place for place, name in enumerate(ids[row]) if name]
        best = sorted(there, key=lambda place: (-joined[row, place], ids[row, place]))[:k]
        merged_ids[row, : len(best)] = ids[row, best]
        merged_scores[row, : len(best)] = joined[row, best]
    return merged_ids, merged_scores
