"""The canary: compares what a live endpoint retrieves with exact search over the same version.

TensorFlow is loaded, for the exact search, when the endpoint has answered: what keeps a check from
running is said at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from serving.bundle import versions
from serving.client import request_inputs
from serving.client.client import Client
from serving.client.tls import Tls
from serving.graph import names
from tfrs_twotower.artifacts import Layout, read_manifest
from tfrs_twotower.errors import BundleError, DataError
from tfrs_twotower.ranking.order import MISSING_ROW, Overlap, RowArray

if TYPE_CHECKING:
    from tfrs_twotower.data.corpus import Corpus

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class RecallCheck:
    """The result of a check."""

    model: str
    model_version: str
    k: int
    num_queries: int
    overlap: float
    """Mean share of the exact list that the endpoint returned: overlap@k."""
    worst_overlap: float
    """The smallest share of any query."""
    target_overlap: float
    """The overlap that the index was built for: `index.target_overlap`."""
    worst_decile: float = 1.0
    """Mean share of the tenth of the queries that have the least."""
    perturbed_overlap: float = 1.0
    """Overlap@k on perturbed queries, made of the replayed ones and the corpus; see
    `tfrs_twotower.data.perturbed_queries`."""
    perturbed_worst_decile: float = 1.0
    """That of the tenth of the perturbed queries that have the least."""

    @property
    def least_overlap(self) -> float:
        """The smaller of both means, which must reach the target."""
        return min(self.overlap, self.perturbed_overlap)


def check_recall(
    target: str, bundle: Path, queries: Path | None, num_queries: int, tls: Tls | None = None
) -> RecallCheck:
    """Replays queries against an endpoint's `candidate_generation`, and against exact search.

    Args:
        target: the endpoint; see `serving.client.client.Client`.
        bundle: directory of a bundle on this machine that holds the version that the endpoint
            serves, or of that version.
        queries: a file or directory for `serving.client.request_inputs.read_queries`; by default
            the test queries of the working directory that holds the bundle.
        num_queries: largest number of queries; their exclusions and restricts are left out.
        tls: certificates of an encrypted connection.

    Raises:
        BundleError: there is no bundle, or the endpoint serves a version that is not here.
        EndpointError: the endpoint cannot be reached, or changed its version during the check.
        DataError, ArtifactError: there are no queries.
    """
    versions.resolve_version(bundle)
    if queries is None:
        queries = Layout(versions.workdir_of(bundle)).preprocessed
        if not queries.is_dir():
            raise DataError(
                f"{bundle}: the directory that holds it has no {queries.name}/ with test queries "
                f"(looked for {queries}). Give --queries, a JSONL file of feature values."
            )
    sample = request_inputs.read_queries(queries, num_queries)
    with Client(target, timeout_s=_TIMEOUT_S, tls=tls) as client:
        model, columns = (
            client.target.model,
            request_inputs.as_columns(sample, _query_inputs(client)),
        )
        first_query = {name: values[:1] for name, values in columns.items()}
        served = client.recommend(first_query, signature=names.CANDIDATE_GENERATION)[
            0
        ].model_version
    version_dir = _served_version_dir(bundle, served)
    from serving.client.exact_answers import ExactAnswers  # loads TensorFlow

    exact = ExactAnswers.of(version_dir)
    shares = []
    with Client(target, timeout_s=_TIMEOUT_S, expected_version=served, tls=tls) as client:
        for inputs in exact.queries(columns):
            asked = {name: values.tolist() for name, values in inputs.items()}
            shape = (len(next(iter(asked.values()))), exact.k)
            answered = _answered_rows(client, asked, exact.corpus, shape, exact.batch_size)
            shares.append(exact.overlaps(inputs, answered))
    real, perturbed = map(Overlap.of, shares)
    return RecallCheck(
        model=model,
        model_version=served,
        k=exact.k,
        num_queries=len(sample),
        overlap=real.mean,
        worst_overlap=float(shares[0].min()),
        target_overlap=exact.settings.index.target_overlap,
        worst_decile=real.worst_decile,
        perturbed_overlap=perturbed.mean,
        perturbed_worst_decile=perturbed.worst_decile,
    )


def prometheus_text(check: RecallCheck, now_s: float) -> str:
    """Formats a check for the textfile collector of Prometheus' node exporter.

    Args:
        check: the result.
        now_s: when the check ended, in seconds since 1970.
    """
    registry = CollectorRegistry()

    def gauge(name: str, value: float, labels: dict[str, str], text: str) -> None:
        metric = Gauge(f"twotower_recall_check_{name}", text, labels, registry=registry)
        metric.labels(**labels).set(value)

    labels = {"model": check.model, "k": str(check.k)}
    gauge("overlap", check.overlap, labels, "Mean overlap@k of the endpoint with exact search.")
    gauge("worst_overlap", check.worst_overlap, labels, "Overlap@k of the worst query.")
    gauge("worst_decile", check.worst_decile, labels, "Overlap@k of the worst tenth of queries.")
    text = "Mean overlap@k on perturbed queries."
    gauge("perturbed_overlap", check.perturbed_overlap, labels, text)
    gauge("target_overlap", check.target_overlap, labels, "Overlap@k that the index was built for.")
    gauge("queries", check.num_queries, labels, "Queries that were replayed.")
    gauge("timestamp_seconds", now_s, labels, "When the check ended.")
    labels = {"model": check.model, "model_version": check.model_version}
    gauge("version", 1, labels, "The version that was checked.")
    return generate_latest(registry).decode()


def _query_inputs(client: Client) -> dict[str, request_inputs.Input]:
    inputs = client.inputs(names.CANDIDATE_GENERATION)
    return {name: spec for name, spec in inputs.items() if name not in names.LISTS}


def _served_version_dir(path: Path, served: str) -> Path:
    number = served.partition("-")[0]
    version_dir = path / number if versions.list_versions(path) else path
    if version_dir.is_dir():
        manifest = read_manifest(version_dir, "bundle")
        if manifest.details.get("model_version") == served:
            return version_dir
    raise BundleError(
        f"{path}: the endpoint serves {served}, which is not here: the overlap of two "
        "versions has no meaning. Give the directory of the bundle that the endpoint loads."
    )


def _answered_rows(
    client: Client,
    columns: dict[str, list[Any]],
    corpus: "Corpus",
    shape: tuple[int, int],
    batch_size: int,
) -> RowArray:
    answered = np.full(shape, MISSING_ROW, np.int64)
    for start in range(0, len(answered), batch_size):
        batch = {name: values[start : start + batch_size] for name, values in columns.items()}
        answers = client.recommend(batch, signature=names.CANDIDATE_GENERATION)
        for at, answer in enumerate(answers, start):
            rows = corpus.row_of(answer.candidate_ids)
            answered[at, : len(rows)] = rows
    return answered
