"""A client for a corpus in shards: it asks all shards at once, and merges their lists."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from serving.bundle.versions import merge_lists, shard_name
from serving.client import endpoint, request_inputs
from serving.client.client import (
    Client,
    Columns,
    Lists,
    Recommendations,
    as_recommendations,
    list_request,
)
from serving.client.tls import Tls
from serving.graph import names
from tfrs_twotower.errors import EndpointError

_THREADS_PER_SHARD = 8
_MIXED_EXPORTS = "ABORTED"


class ShardedClient:
    """Asks all shards of a bundle. Threads may share a client.

    If a shard fails, the request fails, because a list that lacks a part of the corpus would look
    complete. If shards of different exports answer, they are asked again, at most twice and within
    the deadline. For the order of merged lists see `serving.bundle.versions.merge_lists`.
    """

    def __init__(
        self, targets: Sequence[str], *, k: int, timeout_s: float = 1.0, tls: Tls | None = None
    ) -> None:
        """Prepares a client, which connects at its first request.

        Args:
            targets: one for every shard; see `serving.client.client.Client`.
            k: length of merged lists, at most `export.k`.
            timeout_s: deadline of a call in seconds.
            tls: certificates of encrypted connections.

        Raises:
            EndpointError: a target does not name a model at a server, or the models are shards but
                not all shards of one bundle.
        """
        self._k = k
        self._timeout_s = timeout_s
        _check_complete([endpoint.parse_target(target).model for target in targets])
        self._clients = [Client(target, timeout_s=timeout_s, tls=tls) for target in targets]
        self._threads = ThreadPoolExecutor(_THREADS_PER_SHARD * len(targets))

    def recommend(
        self,
        features: Columns,
        *,
        exclude_ids: Lists | None = None,
        allow: Lists | None = None,
        deny: Lists | None = None,
        signature: str = names.SERVING_DEFAULT,
    ) -> list[Recommendations]:
        """Returns the best candidates of each query over all shards; see `Client.recommend`.

        Raises:
            EndpointError: a shard cannot be asked, its lists are shorter than k, or the shards are
                still of different exports at the deadline.
        """
        values = list_request(features, exclude_ids, allow, deny)
        deadline = time.monotonic() + self._timeout_s
        answers = endpoint.retrying(
            lambda _: self._ask_all(signature, values, deadline), deadline, _MIXED_EXPORTS
        )
        lists, versions = zip(*answers, strict=True)
        shortest = min(outputs[names.CANDIDATE_IDS].shape[1] for outputs in lists)
        if self._k > shortest:
            raise EndpointError(
                f"k={self._k} was requested; these shards answer with {shortest} candidates each, "
                "and merged lists can be no longer. Raise export.k and export again.",
                "INVALID_ARGUMENT",
            )
        ids, scores = merge_lists(
            [outputs[names.CANDIDATE_IDS] for outputs in lists],
            [outputs[names.SCORES] for outputs in lists],
            self._k,
        )
        return as_recommendations(ids, scores, versions[0])

    def close(self) -> None:
        """Waits for running calls, then closes the connections."""
        self._threads.shutdown()
        for client in self._clients:
            client.close()

    def __enter__(self) -> "ShardedClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask_all(
        self, signature: str, values: Columns, deadline: float
    ) -> list[tuple[request_inputs.Arrays, str]]:
        futures = [
            self._threads.submit(client.ask, signature, values, deadline=deadline)
            for client in self._clients
        ]
        answers = [future.result() for future in futures]
        versions = [version for _, version in answers]
        if len({version.partition("-")[2] for version in versions}) > 1:
            shards = ", ".join(
                f"{client.target.address}/{client.target.model} {version}"
                for client, version in zip(self._clients, versions, strict=True)
            )
            raise EndpointError(
                f"the shards belong to different exports: {shards}. Their identities (after the "
                "`-`) must be equal. Ask again when every server has loaded the new version, or "
                "give /versions/NUMBER in the targets.",
                _MIXED_EXPORTS,
            )
        return answers


def _check_complete(models: Sequence[str]) -> None:
    if not models:
        raise EndpointError("there is no target; name one for every shard.", "INVALID_ARGUMENT")
    bundle, shard, _ = models[0].rpartition("-shard-")
    expected = [shard_name(bundle, number, len(models)) for number in range(len(models))]
    if shard and sorted(models) != expected:
        raise EndpointError(
            f"the targets name the models {', '.join(models)}; expected every shard of one bundle "
            f"once: {', '.join(expected)}.",
            "INVALID_ARGUMENT",
        )
