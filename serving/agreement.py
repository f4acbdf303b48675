"""How far two bundles agree, such as a ScaNN bundle and its brute-force twin."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving import signatures as names
from serving.loading import load_bundle

_QUERIES_AT_ONCE = 64


def bundle_agreement(
    bundle: Path, reference: Path, queries: Mapping[str, npt.NDArray[Any]]
) -> float:
    """Mean share of the reference's candidates that the bundle returns too: overlap@k.

    Args:
        bundle: directory of a bundle, or of one version.
        reference: the bundle to agree with.
        queries: raw query features, `[num_queries]` or `[num_queries, width]`, at least one.
    """
    ours, theirs = (_candidate_ids(path, queries) for path in (bundle, reference))
    shares = []
    for found, wanted in zip(ours, theirs, strict=True):
        expected = set(wanted.tolist()) - {b""}
        if expected:
            shares.append(len(expected.intersection(found.tolist())) / len(expected))
    return float(np.mean(shares)) if shares else 1.0


def _candidate_ids(path: Path, queries: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.object_]:
    bundle = load_bundle(path)
    count = len(next(iter(queries.values())))
    parts = []
    for start in range(0, count, _QUERIES_AT_ONCE):
        batch = {name: values[start : start + _QUERIES_AT_ONCE] for name, values in queries.items()}
        parts.append(bundle.ask(names.SERVING_DEFAULT, batch)[names.CANDIDATE_IDS])
    return np.concatenate(parts)
