"""Versions that are loaded, refused, tried again and unloaded, with a loader that loads nothing."""

import asyncio

import grpc
import pytest

from serving.server import model_manager
from serving.server.metrics import Metrics
from serving.server.model_manager import ModelManager
from serving.server.models import config_of
from serving.server.refusals import Refusal
from serving.server.served_version import ServedVersion
from tfrs_twotower.errors import BundleError


class Loader:
    """Loads versions by their numbers alone; some are broken."""

    def __init__(self, broken=()):
        self.broken = set(broken)
        self.loads = []

    def __call__(self, name, directory):
        self.loads.append(int(directory.name))
        if self.loads[-1] in self.broken:
            raise BundleError("it is broken")
        return ServedVersion(
            name, self.loads[-1], None, None, {}, None, None, None, written=0.0, load_s=0.1,
            warmup_s=0.2,
        )  # fmt: skip


def play(script, broken=()):
    """Runs `script(manager, loader)`; returns its result."""
    loader = Loader(broken)

    async def main():
        manager = ModelManager(loader, Metrics())
        try:
            return await asyncio.wait_for(script(manager, loader), 20)
        finally:
            await manager.close()

    return asyncio.run(main())


def bundle(directory, *versions):
    for version in versions:
        (directory / str(version)).mkdir(parents=True)
    return config_of(directory)


def test_a_broken_version_is_refused_and_the_one_before_serves(tmp_path):
    config = bundle(tmp_path / "a", 1, 2)

    async def script(manager, loader):
        await manager.configure(config, first=True)
        for _ in range(3):
            await manager.poll()
        assert loader.loads == [2, 1]
        assert manager.find("a").version == 1
        states = dict(manager.states("a"))
        assert (states[2].state, states[2].message) == ("END", "it is broken")
        assert states[1].state == "AVAILABLE"

    play(script, broken=[2])


def test_of_several_serving_versions_the_newest_answers(tmp_path):
    config = bundle(tmp_path / "a", 1, 2, 10)
    config.model_config_list.config[0].model_version_policy.specific.versions.extend([1, 2, 10])

    async def script(manager, _):
        await manager.configure(config, first=True)
        assert sorted(served.version for served in manager.versions) == [1, 2, 10]
        assert manager.find("a").version == 10
        assert manager.find("a", 2).version == 2

    play(script)


def test_a_broken_version_is_tried_again_some_times(tmp_path, monkeypatch):
    monkeypatch.setattr(model_manager, "_RETRY_S", -1.0)
    config = bundle(tmp_path / "a", 1)

    async def script(manager, loader):
        await manager.configure(config, first=True)
        for _ in range(10):
            await manager.poll()
        return loader.loads

    # One attempt and five retries; -1 s have passed at once, so one poll makes them all.
    assert play(script, broken=[1]) == [1] * 6


def test_a_version_that_was_repaired_serves(tmp_path, monkeypatch):
    config = bundle(tmp_path / "a", 1)

    async def script(manager, loader):
        await manager.configure(config, first=True)
        assert not manager.ready
        loader.broken.clear()
        await manager.poll()
        assert not manager.ready, "a minute has not passed"
        monkeypatch.setattr(model_manager, "_RETRY_S", 0.0)
        await manager.poll()
        assert manager.ready
        assert manager.states("a")[0][1].failures == 0

    play(script, broken=[1])


def test_a_model_that_is_dropped_ends_its_requests_while_the_rest_is_ready(tmp_path):
    both = bundle(tmp_path / "a", 1)
    other = bundle(tmp_path / "b", 5)
    both.MergeFrom(other)

    async def script(manager, _):
        await manager.configure(both, first=True)
        served = manager.find("a")
        with served.in_use():
            dropping = asyncio.create_task(manager.configure(other))
            while "a" in {each.model_name for each in manager.versions}:
                await asyncio.sleep(0.01)
            assert not dropping.done()
            assert manager.ready
            with pytest.raises(Refusal, match=r"Latest\(a\)"):
                manager.find("a")
        await dropping
        assert manager.find("b").version == 5

    play(script)


def test_a_new_model_without_a_version_is_reported(tmp_path):
    first, second = bundle(tmp_path / "a", 1), bundle(tmp_path / "b", 2)

    async def script(manager, _):
        await manager.configure(first, first=True)
        with pytest.raises(Refusal, match=r"1 model.* did not become available: b") as caught:
            await manager.configure(second)
        assert caught.value.code == grpc.StatusCode.UNKNOWN

    play(script, broken=[2])


def test_versions_that_left_the_disk_are_forgotten(tmp_path):
    config = bundle(tmp_path / "a", 1, 2)

    async def script(manager, _):
        await manager.configure(config, first=True)
        (tmp_path / "a" / "2").rmdir()
        await manager.poll()
        assert [version for version, _ in manager.states("a")] == [1]

    play(script, broken=[2])
