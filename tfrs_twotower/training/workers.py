"""Processes that train together, on one machine or several, each on its share of every batch.

The variable `TF_CONFIG` names them, as for every TensorFlow program:

    {"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 0}}

The first process (the task `chief`, or else worker 0) alone keeps a log and checkpoints, and what
it knows counts: the others take its weights when a training starts or goes on, and its measurements
after that. Candidates are gathered from all processes (`replicas`), so that a batch has the
negatives that it would have in one.
"""

import contextlib
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.errors import ConfigError, TrainingError, WorkerLost

VARIABLE = "TF_CONFIG"
_ADDRESS = re.compile(r"[^\s:/]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")
_FORM = (
    '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 0}}'
)
_ENDED = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
"""What TensorFlow raises in the processes that are left when one ends."""
_Facts = TypeVar("_Facts")


@dataclass(frozen=True)
class Cluster:
    """The processes of a training."""

    addresses: tuple[str, ...]
    """`HOST:PORT` of each, the chief's first."""
    index: int
    """Place of this process among them."""

    @property
    def is_chief(self) -> bool:
        """Whether this process keeps what all have trained."""
        return self.index == 0


def find_cluster() -> Cluster | None:
    """Reads `TF_CONFIG`; None if it is not set, or names this process alone.

    Raises:
        ConfigError: it is not of the form above, or names tasks that do not train in step.
    """
    text = os.environ.get(VARIABLE, "")
    if not text.strip():
        return None
    try:
        document = json.loads(text)
        jobs = {str(name): [*hosts] for name, hosts in document.get("cluster", {}).items()}
        task = document.get("task", {})
        kind, index = task.get("type", "worker"), task.get("index", 0)
    except (ValueError, AttributeError, TypeError) as cause:
        raise _refusal(f"is no JSON of a cluster ({cause})") from cause
    if others := sorted(jobs.keys() - {"chief", "worker"}):
        raise _refusal(f"names {', '.join(others)}; only chief and worker train in step")
    if not jobs:
        return None
    addresses = [*jobs.get("chief", []), *jobs.get("worker", [])]
    wrong = [str(one) for one in addresses if not _ADDRESS.fullmatch(str(one))]
    if wrong or len(set(addresses)) != len(addresses):
        raise _refusal(f"has addresses that are no HOST:PORT or not distinct: {wrong or addresses}")
    if len(jobs.get("chief", [])) > 1:
        raise _refusal(f"names {len(jobs['chief'])} chiefs; there is at most one")
    if kind not in jobs or not isinstance(index, int) or not 0 <= index < len(jobs[kind]):
        counted = ", ".join(f"{len(hosts)} of type {name}" for name, hosts in jobs.items())
        raise _refusal(f"says that this is task {index!r} of type {kind!r}, and names {counted}")
    place = index + (len(jobs.get("chief", [])) if kind == "worker" else 0)
    return Cluster(tuple(addresses), place) if len(addresses) > 1 else None


def _refusal(problem: str) -> ConfigError:
    return ConfigError(
        f"{VARIABLE} {problem}. Expected is {_FORM} with the same cluster and another task in each "
        "process; unset it to train in one process."
    )


@functools.cache
def join() -> tf.distribute.Strategy | None:
    """Waits for the other processes of the cluster; None if there is none.

    TensorFlow joins a cluster only before it is used otherwise, so call this first.

    Raises:
        ConfigError: `TF_CONFIG` is wrong.
        TrainingError: TensorFlow is in use already, or another process has this one's address.
    """
    cluster = find_cluster()
    if cluster is None:
        return None
    address = cluster.addresses[cluster.index]
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as cause:
        raise TrainingError(
            f"{VARIABLE}: this process can no longer join the cluster: {cause}. Start a process "
            "for the training alone, such as `twotower train`."
        ) from cause
    except tf.errors.OpError as cause:
        first_line = next(iter(str(cause.message).splitlines()), "")
        raise TrainingError(
            f"{VARIABLE}: cannot train as {address}: {first_line}. Look whether an earlier process "
            "still has this port, and whether the others were started with the same cluster."
        ) from cause


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Turns TensorFlow's errors after the end of another process into `WorkerLost`.

    Raises:
        WorkerLost: another process has ended.
    """
    try:
        yield
    except _ENDED as cause:
        cluster = find_cluster()
        if cluster is None:
            raise
        raise WorkerLost(
            f"training: a process of the cluster has ended ({', '.join(cluster.addresses)}); "
            f"this one is {cluster.addresses[cluster.index]}. Start the missing one again; "
            "training goes on from the last checkpoint."
        ) from cause


class Team:
    """This process among those that train together; alone without a cluster."""

    def __init__(self, strategy: tf.distribute.Strategy | None) -> None:
        """Takes the strategy of the training; None for one replica."""
        cluster = None if strategy is None else find_cluster()
        self._strategy = None if cluster is None else strategy
        self._size = 1 if cluster is None else len(cluster.addresses)
        self._index = 0 if cluster is None else cluster.index

    @property
    def keeps(self) -> bool:
        """Whether this process keeps the log and the checkpoints: it is alone, or the chief."""
        return self._index == 0

    def own_part(self, positions: NDArray[np.integer]) -> NDArray[np.integer]:
        """The part of a global batch that this process reads: `[batch / processes]`."""
        size = len(positions) // self._size
        return positions[self._index * size : (self._index + 1) * size]

    def facts_of_chief(self, facts: _Facts) -> _Facts:
        """The chief's value, of any kind that JSON has, in every process."""
        if self._strategy is None:
            return facts
        text = json.dumps(facts).encode()
        size = int(_from_chief(self._strategy, np.array([len(text)], np.int64))[0])
        codes = np.zeros(size, np.int32)
        codes[: len(text)] = np.frombuffer(text, np.uint8)[:size]
        shared: _Facts = json.loads(bytes(_from_chief(self._strategy, codes).tolist()))
        return shared

    def take_from_chief(self, variables: Iterable[tf.Variable]) -> None:
        """Gives the variables the chief's values in every process."""
        if self._strategy is not None:
            for variable in variables:
                variable.assign(_from_chief(self._strategy, variable.numpy()))


def _from_chief(strategy: tf.distribute.Strategy, values: NDArray[Any]) -> NDArray[Any]:
    """The chief's values, where all processes give arrays of one shape and type."""

    def own(context: Any) -> tf.Tensor:
        first = context.replica_id_in_sync_group == 0
        return tf.constant(values if first else np.zeros_like(values))

    shares = strategy.experimental_distribute_values_from_function(own)
    shared: NDArray[Any] = strategy.reduce(tf.distribute.ReduceOp.SUM, shares, axis=None).numpy()
    return shared
