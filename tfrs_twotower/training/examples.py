"""Which examples are trained on, and how much each weighs."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.data.example_table import ExampleTable

DAY_S = 86_400.0


def time_decay(
    timestamps: NDArray[np.int64], *, half_life_days: float, end_s: float
) -> NDArray[np.float32]:
    """2^(-age / half-life), age counted back from the end of the training window.

    Args:
        timestamps: `[num_examples]` seconds.
        half_life_days: age at which a weight is one half.
        end_s: end of the window in seconds; later examples count as of age 0.

    Returns:
        `[num_examples]` float32 in (0, 1].
    """
    age_days = np.maximum(end_s - timestamps, 0.0) / DAY_S
    return np.exp2(-age_days / half_life_days).astype(np.float32)


def first_interactions(table: ExampleTable) -> ExampleTable:
    """The earliest example of each (query, candidate) pair; repeats are left out."""
    order = np.lexsort((table.timestamps, table.candidate_rows, table.query_rows))
    queries, candidates = table.query_rows[order], table.candidate_rows[order]
    new = np.ones(len(order), bool)
    new[1:] = (queries[1:] != queries[:-1]) | (candidates[1:] != candidates[:-1])
    kept = np.sort(order[new])
    return replace(
        table,
        tokens={name: values[kept] for name, values in table.tokens.items()},
        query_rows=table.query_rows[kept],
        candidate_rows=table.candidate_rows[kept],
        timestamps=table.timestamps[kept],
        labels=table.labels[kept],
        weights=table.weights[kept],
    )
