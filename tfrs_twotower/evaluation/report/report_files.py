"""The two files of a report that other programs read: `evaluation.json` and `per_query.npz`.

A mean does not say on which queries it was reached, so paired tests between runs need the values
of every system for every test query. `per_query.npz` holds `query_ids` `[num_queries]`, `systems`
`[num_systems]` and `metrics` `[num_metrics]` (text), and `values`, float64
`[num_systems, num_metrics, num_queries]`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from tfrs_twotower.artifacts.layout import EVALUATION
from tfrs_twotower.data.stored_arrays import load_arrays
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.evaluation.evaluation_document import EvaluationDocument
from tfrs_twotower.evaluation.systems import SystemRun

PER_QUERY = "per_query.npz"
_ADVICE = "Run the stage that writes it again: `twotower evaluate`."


@dataclass(frozen=True)
class PerQuery:
    """The content of `per_query.npz`.

    Attributes:
        query_ids: the test queries, sorted.
        metrics: names such as `recall@20`.
        values: `[num_metrics, num_queries]` of each system.
    """

    query_ids: tuple[str, ...]
    metrics: tuple[str, ...]
    values: dict[str, NDArray[np.float64]]


def read_evaluation(report: Path) -> EvaluationDocument:
    """Reads `evaluation.json` of a report's directory.

    Raises:
        MissingArtifact: there is none.
        CorruptArtifact: it is not an evaluation as this version writes it.
    """
    path = report / EVALUATION
    try:
        return EvaluationDocument.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise MissingArtifact(f"{path}: is missing. {_ADVICE}") from None
    except ValidationError as cause:
        problem = cause.errors(include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"]) or "the document"
        raise CorruptArtifact(f"{path}: {key}: {problem['msg']}. {_ADVICE}") from cause


def write_per_query(
    path: Path, query_ids: Sequence[str], runs: Mapping[str, SystemRun], metrics: tuple[str, ...]
) -> None:
    """Writes the metrics of every system for every query, in the order of the query ids."""
    names = np.array(list(query_ids), np.str_)
    order = np.argsort(names)
    values = [[run.values(metric) for metric in metrics] for run in runs.values()]
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
        arrays = load_arrays(path)
        systems = [str(name) for name in arrays["systems"]]
        return PerQuery(
            tuple(str(name) for name in arrays["query_ids"]),
            tuple(str(name) for name in arrays["metrics"]),
            dict(zip(systems, arrays["values"], strict=True)),
        )
    except (OSError, ValueError, KeyError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. {_ADVICE}") from cause
