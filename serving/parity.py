"""Checks that a bundle's towers give the vectors that were computed offline."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving import signatures as names
from serving.loading import LoadedModel
from tfrs_twotower.errors import BundleError

TOLERANCE = 1e-5


def sample_rows(raw: Mapping[str, npt.NDArray[Any]], limit: int) -> npt.NDArray[np.int64]:
    """Rows that show every feature: evenly spaced ones, and one present and one missing of each."""
    count = len(next(iter(raw.values())))
    chosen = set(np.linspace(0, count - 1, min(limit, count)).astype(int).tolist())
    for values in raw.values():
        missing = _missing(values)
        for rows in (np.flatnonzero(missing), np.flatnonzero(~missing)):
            chosen.update(rows[:1].tolist())
    return np.array(sorted(chosen), np.int64)


def check_embeddings(
    model: LoadedModel,
    signature: str,
    raw: Mapping[str, npt.NDArray[Any]],
    expected: npt.NDArray[np.float32],
) -> float:
    """Compares a signature's embeddings with offline ones.

    Args:
        model: the saved model of a bundle.
        signature: `query_embedding` or `candidate_embedding`.
        raw: raw features of the rows.
        expected: `[num_rows, embedding_dim]` of the same rows.

    Returns:
        The largest absolute difference.

    Raises:
        BundleError: it is above `TOLERANCE`.
    """
    found = model.call(signature, raw)[names.EMBEDDING]
    worst = float(np.max(np.abs(found - expected))) if found.shape == expected.shape else np.inf
    if not worst <= TOLERANCE:
        raise BundleError(
            f"{model.directory}: {signature} differs from the offline embeddings by {worst:.2e} "
            f"(allowed {TOLERANCE:.0e}, {len(expected)} rows): model, embeddings and bundle do not "
            "belong together. Run embed, build-index and export again."
        )
    return worst


def _missing(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind in "iu":
        return values < 0
    empty = values == b""
    return empty.reshape(len(values), -1).all(axis=1)
