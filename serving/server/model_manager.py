"""Loads, swaps and unloads versions, so that each request runs wholly on one of them.

A new version is loaded and warmed up beside the old one. From then on requests go to the new one,
and the old one is unloaded when the last request on it has ended. A version that cannot be loaded
is refused, and the previous one keeps serving. Unlike TensorFlow Serving, `latest` then falls back
to an older version on disk even if none served before.

A version in core operations releases its memory. ScaNN's operations do not: in a Python process
every index that has been searched stays in memory (measured: 28 MB a swap for 68,000 vectors of 64
numbers), so this server should be restarted after many swaps of large indexes.
"""

import asyncio
import gc
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import grpc
from tensorflow_serving.config import model_server_config_pb2

from serving.bundle.versions import list_versions
from serving.server import models, refusals
from serving.server.metrics import Metrics
from serving.server.served_version import ServedVersion
from tfrs_twotower.errors import ArtifactError, TwoTowerError, UnsupportedEnvironment

Load = Callable[[str, Path], ServedVersion]
"""Loads a version of the named model from the version's directory; called on a thread."""
_MAX_RETRIES = 5
_RETRY_S = 60.0
_log = logging.getLogger(__name__)


@dataclass
class VersionState:
    """The state of one version, and why loading it failed."""

    state: str = "START"
    """A state of TensorFlow Serving's `ModelVersionStatus`."""
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""
    failures: int = 0
    failed_at: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether loading failed and must not be tried now, or ever, again."""
        resting = time.monotonic() - self.failed_at < _RETRY_S
        return self.failures > 0 and (resting or self.failures > _MAX_RETRIES)

    def enter(self, state: str) -> None:
        """Enters a state without an error."""
        self.state, self.code, self.message = state, grpc.StatusCode.OK, ""

    def fail(self, error: Exception) -> None:
        """Records that loading failed."""
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        self.state, self.code, self.message = "END", code, str(error)
        self.failures, self.failed_at = self.failures + 1, time.monotonic()


_CODES = (
    (ArtifactError, grpc.StatusCode.DATA_LOSS),
    (UnsupportedEnvironment, grpc.StatusCode.FAILED_PRECONDITION),
    (TwoTowerError, grpc.StatusCode.INTERNAL),
    (Exception, grpc.StatusCode.UNKNOWN),
)


@dataclass
class _Model:
    """A model, its serving versions, and the states of its versions on disk or in memory."""

    config: Any
    """`ModelConfig`."""
    served: dict[int, ServedVersion] = field(default_factory=dict)
    states: dict[int, VersionState] = field(default_factory=lambda: defaultdict(VersionState))

    def wanted(self, on_disk: Sequence[int]) -> set[int]:
        """The versions that should serve, without those that are refused."""
        refused = {version for version, state in self.states.items() if state.refused}
        loadable = [version for version in on_disk if version not in refused]
        return set(models.wanted_versions(self.config, loadable))


class ModelManager:
    """The models and their versions. Its methods run on the server's event loop."""

    def __init__(self, load: Load, metrics: Metrics) -> None:
        self._load = load
        self._metrics = metrics
        self._models: dict[str, _Model] = {}
        self._changing = asyncio.Lock()
        self.stopping = False
        """Whether new requests are refused, because the server is about to end."""

    @property
    def ready(self) -> bool:
        """Whether every model has a serving version, and requests are answered."""
        all_serve = all(model.served for model in self._models.values())
        return bool(self._models) and all_serve and not self.stopping

    @property
    def versions(self) -> list[ServedVersion]:
        """All serving versions."""
        return [served for model in self._models.values() for served in model.served.values()]

    async def configure(self, config: Any, *, first: bool = False) -> None:
        """Replaces the set of models, and returns when their versions are loaded.

        Args:
            config: `ModelServerConfig`.
            first: whether labels may point at versions that are not loaded yet, and models may end
                up without a serving version.

        Raises:
            BundleError: the config is wrong; nothing changes.
            Refusal: a label points at a version that does not serve, and nothing changes; or no
                version of a new model can be loaded.
        """
        configs = models.read_models(config)
        async with self._changing:
            for name, model in configs.items():
                for label, version in model.version_labels.items():
                    if not first and version not in self._model(name).served:
                        raise refusals.Refusal(
                            grpc.StatusCode.FAILED_PRECONDITION,
                            f"Request to assign label {label} to version {version} of model "
                            f"{name}, which is not currently available for inference",
                        )
            new, old = set(configs) - set(self._models), set(self._models) - set(configs)
            for name, model in configs.items():
                self._models.setdefault(name, _Model(model)).config = model
            try:
                await self._load_wanted(configs)
            finally:
                await self._remove(old)
            failed = sorted(name for name in new if not self._model(name).served)
        if failed and not first:
            raise refusals.Refusal(
                grpc.StatusCode.UNKNOWN,
                f"{len(failed)} model(s) did not become available: {', '.join(failed)}",
            )

    async def poll(self) -> None:
        """Looks for new versions on disk, loads them, and unloads those that they replace."""
        async with self._changing:
            await self._load_wanted(list(self._models))

    async def answered(self) -> None:
        """Refuses new predict requests, and waits for those that run, for `GRACE_S` at most."""
        self.stopping = True
        with anyio.move_on_after(refusals.GRACE_S):
            for served in self.versions:
                await served.unused()

    async def close(self) -> None:
        """Unloads all versions."""
        async with self._changing:
            await self._remove(list(self._models))

    @contextmanager
    def predicting(self, entrypoint: str, api: str, *requested: Any) -> Iterator[ServedVersion]:
        """The version that answers a predict request, which is counted, timed and waited for.

        Args:
            entrypoint: `GRPC` or `REST`.
            api: see `Metrics.predicting`.
            requested: what `find` takes.

        Raises:
            Refusal: no such version serves, or the block raised an exception.
        """
        with self._metrics.predicting(entrypoint, api) as running:
            if self.stopping:
                raise refusals.Refusal(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
            served = self.find(*requested)
            running.model_name = served.model_name
            with served.in_use():
                yield served

    def find(self, name: str, version: int | None = None, label: str = "") -> ServedVersion:
        """Returns the requested version, by default the newest serving one.

        Enter the version's `in_use` before the next `await`.

        Raises:
            Refusal: no such version serves.
        """
        if not name:
            raise refusals.invalid("Missing ModelSpec, or its name")
        if label:
            labels = self._model(name).config.version_labels
            if label not in labels:
                raise refusals.invalid(f"Unrecognized servable version label: {label[:100]}")
            version = labels[label]
        served = self._model(name).served
        number = max(served, default=None) if version is None else version
        if number not in served:
            which = f"Latest({name[:100]})"
            if version is not None:
                which = f"Specific({name[:100]}, {version})"
            raise refusals.not_found(f"Servable not found for request: {which}")
        return served[number]

    def states(
        self, name: str, version: int | None = None, label: str = ""
    ) -> list[tuple[int, VersionState]]:
        """Version numbers and their states, newest first.

        Raises:
            Refusal: the model or its version is unknown.
        """
        if label or not name:
            version = self.find(name, None, label).version
        known = self._model(name).states.items()
        states = [(number, state) for number, state in known if version in (None, number)]
        if not states:
            which = "any versions" if version is None else f"version {version}"
            raise refusals.not_found(f"Could not find {which} of model {name[:100]}")
        return sorted(states, reverse=True)

    def _model(self, name: str) -> _Model:
        return self._models.get(name) or _Model(model_server_config_pb2.ModelConfig())

    async def _load_wanted(self, names: Collection[str]) -> None:
        for name in names:
            model = self._models[name]
            on_disk = await asyncio.to_thread(list_versions, Path(model.config.base_path))
            for version in set(model.states) - {*on_disk, *model.served}:
                del model.states[version]
            while missing := model.wanted(on_disk) - set(model.served):
                await self._load_version(model, max(missing))
            if wanted := model.wanted(on_disk):  # otherwise the serving versions stay
                for version in set(model.served) - wanted:
                    await self._unload(model, version)

    async def _remove(self, names: Collection[str]) -> None:
        for name in names:
            model = self._models.pop(name)
            for version in list(model.served):
                await self._unload(model, version)

    async def _load_version(self, model: _Model, version: int) -> None:
        name, path = model.config.name, Path(model.config.base_path) / str(version)
        model.states[version].enter("LOADING")
        try:
            served = await asyncio.to_thread(self._load, name, path)
        except Exception as error:
            model.states[version].fail(error)
            self._metrics.load_attempt_count.labels(path, "fail").inc()
            _log.error("%s version %d is refused: %s", name, version, error)
            return
        self._metrics.load_attempt_count.labels(path, "success").inc()
        self._metrics.load_latency.labels(path).inc(served.load_s * 1e6)
        self._metrics.model_warmup_latency.labels(path, "OK").observe(served.warmup_s * 1e6)
        model.served[version] = served
        model.states[version] = VersionState("AVAILABLE")
        _log.info("%s version %d serves after %.1f s", name, version, served.load_s)

    async def _unload(self, model: _Model, version: int) -> None:
        served = model.served.pop(version)
        model.states[version].enter("UNLOADING")
        await served.unused()
        del served
        # A SavedModel is a cycle of Python objects, which hold its tensors until it is collected.
        await asyncio.to_thread(gc.collect)
        model.states[version].enter("END")
        _log.info("%s version %d is unloaded", model.config.name, version)
