"""The kind of index that a corpus gets, its search parameters, and its measured quality."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfrs_twotower.config import IndexConfig
from tfrs_twotower.errors import ConfigError, CorruptArtifact, MissingArtifact
from tfrs_twotower.ranking.order import FloatArray

EXACT_BELOW = 20_000
"""ScaNN's documentation advises exact search below this many candidates."""

Kind = Literal["brute_force", "scann", "ivf"]
QUALITY_NAME = "quality.json"
_TIMED_CALLS = 50


def resolve_kind(config: IndexConfig, num_candidates: int) -> Kind:
    """The search of vectors that the config names, or that `auto` chooses.

    `auto` takes exact search for a small corpus, and where nothing less than the exact answer is
    wanted; else the approximate search that the server can load. A hybrid takes the same. A lexical
    index only keeps its vectors.
    """
    match config.kind:
        case "lexical":
            return "brute_force"
        case "brute_force" | "scann" | "ivf":
            return config.kind
        case _:
            return _chosen(config, num_candidates)


def _chosen(config: IndexConfig, num_candidates: int) -> Kind:
    if num_candidates < EXACT_BELOW or config.target_overlap >= 1.0:
        return "brute_force"
    return "scann" if config.server == "scann" else "ivf"


def check_vectors_only(config: IndexConfig, where: str) -> None:
    """Checks that an index of vectors without texts is not asked to search words.

    Raises:
        ConfigError: it is.
    """
    if config.kind in ("lexical", "hybrid"):
        raise ConfigError(
            f"{where}: index.kind is {config.kind}, which searches the texts of a feature spec, "
            "and there are only vectors. Set another kind, or run `twotower run` with a spec."
        )


@dataclass(frozen=True)
class SearchParameters:
    """How much of the corpus one search looks at; searches of one index may differ in it."""

    k: int
    """List length that the other two are meant for."""
    num_leaves_to_search: int | None
    """Partitions searched; None without a tree."""
    num_reordering_candidates: int | None
    """Candidates that ScaNN scores exactly at the end; None for ivf, which scores all exactly."""


@dataclass(frozen=True)
class IndexQuality:
    """Agreement with exact search on query embeddings, and how the parameters were chosen.

    In a hybrid index it is that of the search of vectors; the search of words is exact.

    Answers that tie with the last exact one count as found; see `ranking.order.overlaps`.
    """

    kind: Kind | Literal["lexical", "hybrid"]
    k: int
    """List length of the overlap."""
    overlap: float
    """Mean overlap@k with exact search on real queries."""
    target: float
    """The least that the run config allows, on real and on perturbed queries."""
    num_queries: int
    """Embeddings of real queries that were measured."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Training and search parameters; empty for exact search."""
    sweep: list[dict[str, Any]] = field(default_factory=list)
    """Each measured choice: its search parameters, `overlap`, `p50_ms` of one query."""
    exact_p50_ms: float = 0.0
    """Median milliseconds of one query in exact search, on the machine that built the index."""
    worst_decile: float = 1.0
    """Mean overlap@k of the tenth of the real queries that have the least."""
    perturbed_overlap: float = 1.0
    """Mean overlap@k on perturbed queries; see `sweep.MeasuredQueries`."""
    perturbed_worst_decile: float = 1.0
    """That of the tenth of the perturbed queries that have the least."""

    def write(self, directory: Path) -> None:
        """Writes `quality.json`."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        (directory / QUALITY_NAME).write_text(text, encoding="utf-8")


def read_quality(directory: Path) -> IndexQuality:
    """Reads `quality.json` of an index directory.

    Raises:
        MissingArtifact: it is not there.
        CorruptArtifact: it is something else.
    """
    path = directory / QUALITY_NAME
    try:
        return IndexQuality(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise MissingArtifact(f"{path}: is missing. Run build-index again.") from None
    except (ValueError, TypeError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. Run build-index again.") from cause


def median_ms(ask: Callable[[tf.Tensor], tf.Tensor], queries: FloatArray) -> float:
    """Median milliseconds of answering one query, after a first call that is not counted.

    Args:
        ask: answers embeddings `[1, embedding_dim]`.
        queries: `[num_queries, embedding_dim]`, at least one.
    """
    lines = [tf.constant(queries[i % len(queries)][None]) for i in range(_TIMED_CALLS)]
    ask(lines[0])
    durations = []
    for line in lines:
        started = time.perf_counter()
        ask(line).numpy()
        durations.append(time.perf_counter() - started)
    return round(1e3 * float(np.median(durations)), 4)
