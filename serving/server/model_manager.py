"""Loads, swaps and unloads versions, so that a request always runs wholly on one of them.

A new version is loaded and warmed up beside the old one; from then on requests go to it, and the
old one is unloaded when the last request that runs on it is done. A version that cannot be loaded
is refused, and what served before goes on. Unlike TensorFlow Serving, `latest` then falls back to
an older version on disk also where nothing served before.

A version in core operations gives its memory back. ScaNN's operations do not: in a Python process
each index that was asked stays (measured: 28 MB a swap for 68,000 vectors of 64 numbers), so after
many swaps of large indexes this server should be started anew.
"""

import asyncio
import gc
import logging
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from serving.bundle.versions import list_versions
from serving.server.metrics import Metrics
from serving.server.models import ServedModel, read_models
from serving.server.refusals import Refusal, invalid, not_found
from serving.server.served_version import LoadedVersion, ServedVersion
from serving.server.version_states import (
    AVAILABLE,
    END,
    LOADING,
    START,
    UNLOADING,
    VersionState,
    VersionStates,
)
from tfrs_twotower.errors import BundleError

Load = Callable[[str, Path], LoadedVersion]
_log = logging.getLogger(__name__)


class ModelManager:
    """Models and their versions. Its methods run on the server's event loop."""

    def __init__(self, load: Load, threads: Executor, metrics: Metrics) -> None:
        """Starts without models.

        Args:
            load: loads a version of a model, given the version's directory; called on a thread.
            threads: that signatures run on.
            metrics: that are told of loads.
        """
        self._load = load
        self._threads = threads
        self._metrics = metrics
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._models: dict[str, ServedModel] = {}
        self._served: dict[str, dict[int, ServedVersion]] = {}
        self._states: dict[str, VersionStates] = {}
        self._changing = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether every model has a version that serves."""
        return bool(self._models) and all(self._served.get(name) for name in self._models)

    @property
    def versions(self) -> list[ServedVersion]:
        """All versions that serve."""
        return [served for versions in self._served.values() for served in versions.values()]

    async def configure(self, config: Any, *, first: bool = False) -> None:
        """Replaces the whole set of models, and returns when their versions are loaded.

        Args:
            config: `ModelServerConfig`.
            first: labels may point at versions that are not loaded yet.

        Raises:
            Refusal: the config is wrong; nothing has changed. Or a new model has no version that
                can be loaded.
        """
        try:
            models = read_models(config)
        except BundleError as error:
            raise invalid(str(error)) from error
        async with self._changing:
            if not first:
                self._check_labels(models)
            new = set(models) - set(self._models)
            self._models = models
            await self._bring_up()
        without = sorted(name for name in new if not self._served.get(name))
        if without and not first:
            raise not_found(f"no version could be loaded of {', '.join(without)}")

    async def poll(self) -> None:
        """Looks for new versions on disk, loads them, and unloads those that they replace."""
        async with self._changing:
            await self._bring_up()

    async def close(self) -> None:
        """Unloads everything."""
        async with self._changing:
            self._models = {}
            await self._bring_up()
        self._loader.shutdown()

    def find(self, name: str, version: int | None = None, label: str = "") -> ServedVersion:
        """The version that a request asks for; use it within `in_use`, without awaiting before.

        Args:
            name: of the model.
            version: by default the newest that serves.
            label: instead of a version.

        Raises:
            Refusal: there is none.
        """
        served = self._served.get(name, {})
        if label:
            labels = dict(self._models[name].labels) if name in self._models else {}
            if label not in labels:
                raise invalid(f"Unrecognized servable version label: {label[:100]}")
            version = labels[label]
        if version is None:
            if not served:
                raise not_found(f"Servable not found for request: Latest({name[:100]})")
            return served[max(served)]
        if version not in served:
            raise not_found(f"Servable not found for request: Specific({name[:100]}, {version})")
        return served[version]

    def states(
        self, name: str, version: int | None = None, label: str = ""
    ) -> list[tuple[int, VersionState]]:
        """Version numbers and their states, newest first.

        Raises:
            Refusal: the model, or its version, is not known.
        """
        if label:
            version = self.find(name, None, label).loaded.version
        known = self._states[name].of if name in self._states else {}
        if version is not None:
            if version not in known:
                raise not_found(f"Could not find version {version} of model {name[:100]}")
            return [(version, known[version])]
        if not known:
            raise not_found(f"Could not find any versions of model {name[:100]}")
        return sorted(known.items(), reverse=True)

    def _check_labels(self, models: dict[str, ServedModel]) -> None:
        for model in models.values():
            for label, version in model.labels:
                if version not in self._served.get(model.name, {}):
                    raise Refusal(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        f"Request to assign label {label} to version {version} of model "
                        f"{model.name}, which is not currently available for inference",
                    )

    async def _bring_up(self) -> None:
        for model in self._models.values():
            await self._bring_up_model(model)
        for name in set(self._served) - set(self._models):
            for version in list(self._served[name]):
                await self._unload(name, version)
            del self._served[name]
            self._states.pop(name, None)

    async def _bring_up_model(self, model: ServedModel) -> None:
        states = self._states.setdefault(model.name, VersionStates())
        served = self._served.setdefault(model.name, {})
        on_disk = await asyncio.to_thread(list_versions, model.base_path)
        states.forget_all_but({*on_disk, *served})
        while True:
            wanted = model.policy.choose(states.loadable(on_disk))
            missing = [version for version in wanted if version not in served]
            if not missing:
                break
            await self._load_version(model, missing[0])
        if wanted:  # else what serves goes on
            for version in set(served) - set(wanted):
                await self._unload(model.name, version)

    async def _load_version(self, model: ServedModel, version: int) -> None:
        states = self._states[model.name]
        states.enter(version, START)
        states.enter(version, LOADING)
        directory = model.base_path / str(version)
        loop = asyncio.get_running_loop()
        try:
            loaded = await loop.run_in_executor(self._loader, self._load, model.name, directory)
        except Exception as error:
            states.fail(version, error)
            self._metrics.load_attempt_count.add(str(model.base_path), "fail")
            _log.error("%s version %d is refused: %s", model.name, version, error)
            return
        path = str(model.base_path)
        self._metrics.load_attempt_count.add(path, "success")
        self._metrics.load_latency.add(path, by=loaded.load_s * 1e6)
        self._metrics.model_warmup_latency.observe(loaded.warmup_s * 1e6, path, "OK")
        self._served[model.name][version] = ServedVersion(loaded, self._threads, self._metrics)
        states.enter(version, AVAILABLE)
        _log.info("%s version %d serves after %.1f s", model.name, version, loaded.load_s)

    async def _unload(self, name: str, version: int) -> None:
        served = self._served[name].pop(version)
        self._states[name].enter(version, UNLOADING)
        await served.unused()
        del served
        # A SavedModel is a cycle of Python objects, which hold its tensors until it is collected.
        await asyncio.get_running_loop().run_in_executor(self._loader, gc.collect)
        self._states[name].enter(version, END)
        _log.info("%s version %d is unloaded", name, version)
