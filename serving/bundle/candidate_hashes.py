"""Content hashes of candidates: which of them have to be embedded again."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.graph.release import HashArray

HASH_BYTES = 16


def content_hashes(raw: Mapping[str, npt.NDArray[Any]]) -> HashArray:
    """A hash of each candidate's features, whatever the order in which they are given.

    Args:
        raw: raw features by name, `[num_candidates]` or `[num_candidates, width]`: bytes, int64,
            or float32, of which every NaN is the same missing value.

    Returns:
        `[num_candidates, 16]`.
    """
    names = sorted(raw)
    columns = [_bytes_of(raw[name]) for name in names]
    hashes = np.empty((len(columns[0]) if columns else 0, HASH_BYTES), np.uint8)
    for row, cells in enumerate(zip(*columns, strict=True)):
        digest = hashlib.blake2b(digest_size=HASH_BYTES)
        for name, cell in zip(names, cells, strict=True):
            digest.update(f"{name}:{len(cell)}:".encode())
            digest.update(cell)
        hashes[row] = np.frombuffer(digest.digest(), np.uint8)
    return hashes


def _bytes_of(values: npt.NDArray[Any]) -> list[bytes]:
    """One string for each row; lists of strings are told apart by their lengths."""
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.float32(np.nan), values.astype("<f4"))
    if values.dtype.kind in "fiu":
        return [row.tobytes() for row in values]
    if values.ndim == 1:
        return list(values.tolist())
    return [b"".join(b"%d:%s" % (len(cell), cell) for cell in row) for row in values.tolist()]
