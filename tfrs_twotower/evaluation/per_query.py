"""What every system reached on every test query: `per_query.npz` beside `evaluation.json`.

Paired tests between runs need it: a mean does not say on which queries it was reached. The file
holds `query_ids` `[num_queries]`, `systems` `[num_systems]` and `metrics` `[num_metrics]` (text),
and `values`, float64 `[num_systems, num_metrics, num_queries]`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.evaluation.inputs import EvaluationInputs
from tfrs_twotower.evaluation.systems import SystemRun
from tfrs_twotower.metrics import per_query

PER_QUERY = "per_query.npz"


@dataclass(frozen=True)
class PerQuery:
    """The content of the file.

    Attributes:
        query_ids: the test queries, sorted.
        metrics: names such as `recall@20`.
        values: `[num_metrics, num_queries]` of each system.
    """

    query_ids: tuple[str, ...]
    metrics: tuple[str, ...]
    values: dict[str, NDArray[np.float64]]


def write_per_query(
    path: Path, query_ids: Sequence[str], runs: Mapping[str, SystemRun], metrics: tuple[str, ...]
) -> None:
    """Writes the metrics of every system for every query, in the order of the query ids."""
    names = np.array(list(query_ids), np.str_)
    order = np.argsort(names)
    values = [[per_query(metric, run.judged) for metric in metrics] for run in runs.values()]
    np.savez_compressed(
        path,
        query_ids=names[order],
        systems=np.array(list(runs), np.str_),
        metrics=np.array(metrics, np.str_),
        values=np.array(values)[:, :, order],
    )


def read_per_query(path: Path) -> PerQuery:
    """Reads what `write_per_query` wrote.

    Raises:
        CorruptArtifact: the file is missing or is not one.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            systems = [str(name) for name in arrays["systems"]]
            return PerQuery(
                tuple(str(name) for name in arrays["query_ids"]),
                tuple(str(name) for name in arrays["metrics"]),
                dict(zip(systems, arrays["values"], strict=True)),
            )
    except (OSError, ValueError, KeyError) as cause:
        raise CorruptArtifact(
            f"{path}: cannot be read: {cause}. Run the stage that writes it again: "
            "`twotower evaluate`."
        ) from cause


def judged_on(inputs: EvaluationInputs) -> str:
    """16 hex digits of what systems are judged on: corpus, test queries, truth, what is left out.

    Figures of two evaluations can be compared only where these are equal. What a model reads
    (features, tables of the queries) does not matter here.
    """
    query_ids = np.array(list(inputs.test.ids), np.str_)
    order = np.argsort(query_ids)
    truth, seen = inputs.test.truth.take(order), inputs.test.seen.take(order)
    digest = hashlib.sha256()
    for names in (inputs.corpus.ids, query_ids[order].tolist()):
        for name in names:
            digest.update(name.encode() + b"\0")
        digest.update(b"\0")
    for array in (
        truth.relevant.lengths, truth.relevant.values, seen.lengths, seen.values, inputs.eligible
    ):  # fmt: skip
        digest.update(np.asarray(array, np.int64).tobytes())
    digest.update(np.asarray(truth.gains, np.float64).tobytes())
    return digest.hexdigest()[:16]
