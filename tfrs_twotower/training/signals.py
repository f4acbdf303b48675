"""Numbers about a candidate that the cascade's sum may use, all from the training window."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.data.example_table import ExampleTable

_DAY_S = 86_400


class CandidateSignals(NamedTuple):
    """What is known of every candidate.

    Attributes:
        names: `log_count` of the whole window, `log_count_30d` of its last 30 days, and so on.
        values: `[num_candidates, num_signals]` float32.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]


def candidate_signals(
    days: Sequence[float | None], table: ExampleTable, num_candidates: int
) -> CandidateSignals:
    """log(1 + positive examples of a candidate) in the last days of the window, for each entry.

    The window ends with its latest example. In data without time only the whole window is known.

    Args:
        days: lengths; None for the whole window.
        table: the examples of the window.
        num_candidates: size of the corpus.
    """
    rows, times = table.candidate_rows, table.timestamps  # all 0 without time
    names: list[str] = []
    values = np.zeros((num_candidates, 0), np.float32)
    for length in days:
        counted = rows
        if length is not None:
            if not times.any():
                continue
            counted = rows[times > times.max() - length * _DAY_S]
        names.append("log_count" if length is None else f"log_count_{length:g}d")
        column = np.log1p(np.bincount(counted, minlength=num_candidates)).astype(np.float32)
        values = np.concatenate([values, column[:, None]], axis=1)
    return CandidateSignals(tuple(names), values)
