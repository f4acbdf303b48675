"""A client for a served bundle, over gRPC or REST.

with Client("grpc://localhost:8500/movielens_100k") as client:
    answer = client.recommend({"user_id": ["12"]}, exclude_ids=[["50", "181"]])[0]
    answer.candidate_ids, answer.scores, answer.model_version
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from serving.client import endpoint, request_inputs
from serving.client.tls import Tls
from serving.graph import names
from tfrs_twotower.errors import EndpointError

Columns = Mapping[str, Sequence[Any] | npt.NDArray[Any]]
Lists = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Recommendations:
    """The candidates of one query."""

    candidate_ids: list[str]
    """Best first; fewer than the bundle's k if the corpus has no more."""
    scores: list[float]
    model_version: str
    """Number of the version that answered, and the identity of what it was made from."""


class Transport(Protocol):
    """Sends single requests to a server, and raises `EndpointError` if one fails."""

    def predict(
        self, signature: str, inputs: request_inputs.Arrays, timeout_s: float
    ) -> request_inputs.Arrays:
        """Calls a signature and returns its outputs."""

    def signatures(self, timeout_s: float) -> request_inputs.Signatures:
        """Inputs of every signature."""

    def close(self) -> None:
        """Closes the connections."""


class Client:
    """Sends requests to one model. Threads may share a client.

    A request is sent again, at most twice and within its deadline, if no server could answer
    (`UNAVAILABLE`). A refused request is not sent again, with one exception: after
    `INVALID_ARGUMENT` the signature is read again, and if a new version has changed it, the request
    is built anew and sent once more.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout_s: float = 1.0,
        expected_version: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        """Prepares a client, which connects at its first request.

        Args:
            target: `grpc://HOST:PORT/MODEL` or `http://HOST:PORT/MODEL`; `grpcs` and `https`
                encrypt.
            timeout_s: deadline of a call in seconds, retries included.
            expected_version: the `model_version` that every answer must carry.
            tls: certificates of an encrypted connection; by default public authorities are
                trusted.

        Raises:
            EndpointError: the target does not name a model at a server, or a certificate cannot be
                read.
        """
        self.target = endpoint.parse_target(target, tls)
        self._transport = _connect(self.target)
        self._timeout_s = timeout_s
        self._expected_version = expected_version
        self._known: request_inputs.Signatures = {}
        self._lock = threading.Lock()

    def recommend(
        self,
        features: Columns,
        *,
        exclude_ids: Lists | None = None,
        allow: Lists | None = None,
        deny: Lists | None = None,
        signature: str = names.SERVING_DEFAULT,
    ) -> list[Recommendations]:
        """Returns the best candidates of each query.

        Args:
            features: a value, or a list of values, per query, by feature name; features without
                values are missing.
            exclude_ids: candidate ids to leave out, per query.
            allow: tokens `feature=value` that candidates must have, per query.
            deny: tokens that candidates must not have, per query.
            signature: `serving_default` (the cascade) or `candidate_generation`.

        Raises:
            EndpointError: the server cannot be reached in time, refuses the request, has no such
                feature, or answers with another version than expected.
        """
        values = list_request(features, exclude_ids, allow, deny)
        outputs, version = self.ask(signature, values)
        return as_recommendations(outputs[names.CANDIDATE_IDS], outputs[names.SCORES], version)

    def pre_rank(self, features: Columns, candidate_ids: Lists) -> list[Recommendations]:
        """Returns the final scores of given candidates, in the given order.

        Args:
            features: as in `recommend`.
            candidate_ids: ids per query; an unknown id gets the lowest float32.

        Raises:
            EndpointError: see `recommend`; also if the bundle has no pre-ranker.
        """
        outputs, version = self.ask(
            names.PRE_RANKING, {**features, names.CANDIDATE_IDS: candidate_ids}
        )
        return [
            Recommendations(list(ids), scores[: len(ids)], version)
            for ids, scores in zip(candidate_ids, outputs[names.SCORES].tolist(), strict=True)
        ]

    def ask(
        self, signature: str, values: Columns, *, deadline: float | None = None
    ) -> tuple[request_inputs.Arrays, str]:
        """Calls any signature, and returns its outputs and the version that answered.

        Args:
            signature: its name.
            values: a value, or a list of values, per query or candidate, by input name.
            deadline: by `time.monotonic()`; by default `timeout_s` from now.

        Raises:
            EndpointError: see `recommend`.
        """
        if deadline is None:
            deadline = time.monotonic() + self._timeout_s
        specs = self._inputs_of(signature, values, deadline)
        try:
            outputs = self._predict(signature, specs, values, deadline)
        except EndpointError as error:
            if error.code != "INVALID_ARGUMENT":
                raise
            current = self._read_signatures(self._known, deadline).get(signature)
            if current is None or current == specs:
                raise
            if request_inputs.unknown_names(current, values):
                raise
            outputs = self._predict(signature, current, values, deadline)
        if names.MODEL_VERSION not in outputs:
            raise EndpointError(
                f"{self.target.description}: the answer of {signature} has no "
                f"'{names.MODEL_VERSION}' but {', '.join(sorted(outputs))}; expected a bundle that "
                "`twotower export` wrote.",
                "FAILED_PRECONDITION",
            )
        return outputs, self._one_version(outputs[names.MODEL_VERSION].tolist())

    def inputs(self, signature: str) -> dict[str, request_inputs.Input]:
        """Reads the inputs of a signature, as the server describes them.

        Raises:
            EndpointError: the server cannot be reached in time, or there is no such signature.
        """
        return self._inputs_of(signature, {}, time.monotonic() + self._timeout_s)

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _predict(
        self,
        signature: str,
        specs: dict[str, request_inputs.Input],
        values: Columns,
        deadline: float,
    ) -> request_inputs.Arrays:
        inputs = request_inputs.build_inputs(specs, values)
        return endpoint.retrying(
            lambda left_s: self._transport.predict(signature, inputs, left_s), deadline
        )

    def _inputs_of(
        self, signature: str, values: Columns, deadline: float
    ) -> dict[str, request_inputs.Input]:
        """The signature's inputs, read again before a name is refused, because versions differ."""
        known = self._known
        if signature not in known or request_inputs.unknown_names(known[signature], values):
            known = self._read_signatures(known, deadline)
        if signature not in known:
            raise EndpointError(
                f"{self.target.description}: there is no signature '{signature}'; it has "
                f"{', '.join(sorted(known))}.",
                "NOT_FOUND",
            )
        for name in request_inputs.unknown_names(known[signature], values):
            raise EndpointError(
                request_inputs.unknown_name_message(
                    self.target.description, signature, known[signature], name
                ),
                "INVALID_ARGUMENT",
            )
        return known[signature]

    def _read_signatures(
        self, known: request_inputs.Signatures, deadline: float
    ) -> request_inputs.Signatures:
        """Reads the signatures from the server, once for all threads that know the same ones."""
        with self._lock:
            if self._known is known:
                self._known = endpoint.retrying(self._transport.signatures, deadline)
            return self._known

    def _one_version(self, versions: list[bytes]) -> str:
        answered = sorted({version.decode() for version in versions})
        expected = [self._expected_version] if self._expected_version else answered[:1]
        if answered != expected:
            raise EndpointError(
                f"{self.target.description}: answered with the versions {', '.join(answered)}; "
                f"expected {expected[0]}. Another version was published or rolled back to.",
                "FAILED_PRECONDITION",
            )
        return answered[0]


def list_request(
    features: Columns, exclude_ids: Lists | None, allow: Lists | None, deny: Lists | None
) -> dict[str, Any]:
    """Features, and those of `exclude_ids`, `allow` and `deny` that are given."""
    lists = {names.EXCLUDE_IDS: exclude_ids, names.ALLOW: allow, names.DENY: deny}
    return {**features, **{name: values for name, values in lists.items() if values is not None}}


def as_recommendations(
    candidate_ids: npt.NDArray[Any], scores: npt.NDArray[Any], version: str
) -> list[Recommendations]:
    """Converts `[batch, k]` ids and scores; places without a candidate, the last, are left out."""
    recommendations = []
    for row_ids, row_scores in zip(candidate_ids.tolist(), scores.tolist(), strict=True):
        ids = [name.decode() for name in row_ids if name]
        recommendations.append(Recommendations(ids, row_scores[: len(ids)], version))
    return recommendations


def _connect(target: endpoint.Target) -> Transport:
    if target.is_grpc:
        from serving.client.transports import GrpcTransport

        return GrpcTransport(target)
    from serving.client.rest_transport import RestTransport

    return RestTransport(target)
