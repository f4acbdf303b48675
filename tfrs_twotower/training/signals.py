"""Numbers about a candidate that the cascade's sum may use, all from the training window."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.config import Signal
from tfrs_twotower.data.example_table import ExampleTable

_DAY_S = 86_400


def candidate_signals(
    names: Sequence[Signal], table: ExampleTable, num_candidates: int, *, recent_days: float
) -> NDArray[np.float32]:
    """The named signals of every candidate.

    Args:
        names: which.
        table: the examples of the window.
        num_candidates: size of the corpus.
        recent_days: how far back `log_recent_count` looks from the latest example.

    Returns:
        `[num_candidates, len(names)]` float32.
    """
    rows, times = table.candidate_rows, table.timestamps
    recent = rows[times > times.max() - recent_days * _DAY_S] if len(times) else rows
    sources = {"log_count": rows, "log_recent_count": recent}
    columns = [np.log1p(np.bincount(sources[name], minlength=num_candidates)) for name in names]
    return np.stack(columns, axis=1).astype(np.float32) if columns else _none(num_candidates)


def _none(num_candidates: int) -> NDArray[np.float32]:
    return np.zeros((num_candidates, 0), np.float32)
