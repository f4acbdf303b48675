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
from serving.graph import signatures as names
from tfrs_twotower.errors import EndpointError

Columns = Mapping[str, Sequence[Any] | npt.NDArray[Any]]
Lists = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Recommendations:
    """One query's candidates."""

    candidate_ids: list[str]
    """Best first; fewer than the bundle's k where the corpus has no more."""
    scores: list[float]
    model_version: str
    """The version that answered, and the identity of what it was made from."""


class Transport(Protocol):
    """A way to a server; it asks once and raises `EndpointError`."""

    def predict(
        self, signature: str, inputs: request_inputs.Arrays, timeout_s: float
    ) -> request_inputs.Arrays:
        """Outputs of a signature."""

    def signatures(self, timeout_s: float) -> request_inputs.Signatures:
        """Inputs of every signature."""

    def close(self) -> None:
        """Gives connections back."""


class Client:
    """Asks one model. Threads may share it.

    A request is sent again, at most twice and while its deadline lasts, if no server was there to
    answer (`UNAVAILABLE`). What the server refuses is not, with one exception: after
    `INVALID_ARGUMENT` the signature is read again, and if it is another than before, which a new
    version may bring, the request is made and sent once more.
    """

    def __init__(
        self, target: str, *, timeout_s: float = 1.0, expected_version: str | None = None
    ) -> None:
        """Connects when it is first used.

        Args:
            target: `grpc://HOST:PORT/MODEL` or `http://HOST:PORT/MODEL`.
            timeout_s: deadline of a call in seconds, retries included.
            expected_version: the `model_version` that every answer must have.

        Raises:
            EndpointError: the target names no model at a server.
        """
        self.target = endpoint.parse_target(target)
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
        """The best candidates of each query.

        Args:
            features: a value, or a list of values, for each query, by feature name; features that
                are not given are missing.
            exclude_ids: candidate ids that each query leaves out.
            allow: tokens `feature=value` that each query's candidates must have.
            deny: tokens that they must not have.
            signature: `serving_default` (the cascade) or `candidate_generation`.

        Raises:
            EndpointError: the server cannot be reached in time, refuses the request, has no such
                feature, or answers with another version than expected.
        """
        given = list_request(features, exclude_ids, allow, deny)
        outputs, version = self.ask(signature, given)
        return as_recommendations(outputs[names.CANDIDATE_IDS], outputs[names.SCORES], version)

    def pre_rank(self, features: Columns, candidate_ids: Lists) -> list[Recommendations]:
        """The final scores of given candidates, in the order in which they are given.

        Args:
            features: as in `recommend`.
            candidate_ids: of each query; an unknown one gets the lowest float32.

        Raises:
            EndpointError: see `recommend`; also if the bundle has no pre-ranker.
        """
        outputs, version = self.ask(
            names.PRE_RANKING, {**features, names.CANDIDATE_IDS: candidate_ids}
        )
        return [
            Recommendations(list(line), numbers[: len(line)], version)
            for line, numbers in zip(candidate_ids, outputs[names.SCORES].tolist(), strict=True)
        ]

    def ask(
        self, signature: str, given: Columns, *, deadline: float | None = None
    ) -> tuple[request_inputs.Arrays, str]:
        """The outputs of any signature, and the version that answered.

        Args:
            signature: its name.
            given: a value, or a list of values, for each query or candidate, by input name.
            deadline: by `time.monotonic()`; by default `timeout_s` from now.

        Raises:
            EndpointError: see `recommend`.
        """
        if deadline is None:
            deadline = time.monotonic() + self._timeout_s
        specs = self._inputs_of(signature, given, deadline)
        try:
            outputs = self._predict(signature, specs, given, deadline)
        except EndpointError as error:
            if error.code != "INVALID_ARGUMENT":
                raise
            now = self._read_signatures(self._known, deadline).get(signature)
            if now is None or now == specs or request_inputs.unknown_names(now, given):
                raise
            outputs = self._predict(signature, now, given, deadline)
        if names.MODEL_VERSION not in outputs:
            raise EndpointError(
                f"{self._where()}: the answer of {signature} has no '{names.MODEL_VERSION}' but "
                f"{', '.join(sorted(outputs))}; expected a bundle that `twotower export` wrote.",
                "FAILED_PRECONDITION",
            )
        return outputs, self._one_version(outputs[names.MODEL_VERSION].tolist())

    def inputs(self, signature: str) -> dict[str, request_inputs.Input]:
        """What a signature takes, as the server describes it.

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
        given: Columns,
        deadline: float,
    ) -> request_inputs.Arrays:
        inputs = request_inputs.build_inputs(specs, given)
        return endpoint.retrying(
            lambda left_s: self._transport.predict(signature, inputs, left_s), deadline
        )

    def _inputs_of(
        self, signature: str, given: Columns, deadline: float
    ) -> dict[str, request_inputs.Input]:
        """The signature's inputs; read again before a name is refused, as versions differ."""
        known = self._known
        if signature not in known or request_inputs.unknown_names(known[signature], given):
            known = self._read_signatures(known, deadline)
        if signature not in known:
            raise EndpointError(
                f"{self._where()}: there is no signature '{signature}'; it has "
                f"{', '.join(sorted(known))}.",
                "NOT_FOUND",
            )
        for name in request_inputs.unknown_names(known[signature], given):
            raise EndpointError(
                request_inputs.about_unknown(self._where(), signature, known[signature], name),
                "INVALID_ARGUMENT",
            )
        return known[signature]

    def _read_signatures(
        self, known: request_inputs.Signatures, deadline: float
    ) -> request_inputs.Signatures:
        """What the server has now; of threads that miss the same, one asks."""
        with self._lock:
            if self._known is known:
                self._known = endpoint.retrying(self._transport.signatures, deadline)
            return self._known

    def _where(self) -> str:
        return f"{self.target.address}, model '{self.target.model}'"

    def _one_version(self, versions: list[bytes]) -> str:
        answered = sorted({version.decode() for version in versions})
        expected = [self._expected_version] if self._expected_version else answered[:1]
        if answered != expected:
            raise EndpointError(
                f"{self._where()}: answered with the versions {', '.join(answered)}; expected "
                f"{expected[0]}. Another version was published or rolled back to.",
                "FAILED_PRECONDITION",
            )
        return answered[0]


def _connect(target: endpoint.Target) -> Transport:
    if target.scheme == "grpc":
        from serving.client.transports import GrpcTransport

        return GrpcTransport(target)
    from serving.client.transports import RestTransport

    return RestTransport(target)


def list_request(
    features: Columns, exclude_ids: Lists | None, allow: Lists | None, deny: Lists | None
) -> dict[str, Any]:
    """Features together with those of `exclude_ids`, `allow` and `deny` that are given."""
    more = {names.EXCLUDE_IDS: exclude_ids, names.ALLOW: allow, names.DENY: deny}
    return {**features, **{name: lists for name, lists in more.items() if lists is not None}}


def as_recommendations(
    candidate_ids: npt.NDArray[Any], scores: npt.NDArray[Any], version: str
) -> list[Recommendations]:
    """`[batch, k]` ids and scores without the places that hold no candidate, which come last."""
    recommendations = []
    for line, numbers in zip(candidate_ids.tolist(), scores.tolist(), strict=True):
        listed = [name.decode() for name in line if name]
        recommendations.append(Recommendations(listed, numbers[: len(listed)], version))
    return recommendations
