"""Importing the package chooses Keras 2, before a test module imports TensorFlow."""

import gc
import sys
from pathlib import Path

import pytest

import tfrs_twotower  # noqa: F401

PROCESS_TIMEOUT_S = 1800
_ROOMS_OF_PROCESSES = ("e2e", "packaging")


def pytest_collection_modifyitems(items):
    """Gives tests that start processes a limit of their own.

    The limit counts time, also time that a busy machine gives to others, and each process imports
    TensorFlow anew: under load such a test took longer than the limit of the others.
    """
    for item in items:
        room = item.path.relative_to(Path(__file__).parent).parts[0]
        starts_processes = room in _ROOMS_OF_PROCESSES or hasattr(item.module, "subprocess")
        if starts_processes and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PROCESS_TIMEOUT_S))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    """Keeps what a local server leaves behind from Python's collector.

    In two of some ten runs a process that had stopped a grpc.aio server crashed later, inside the
    collector. Those tests run in processes of their own, and their garbage stays until these end.
    """
    if item.get_closest_marker("local_server"):
        gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _quick_beam():
    """`quick_beam`, where a test has imported Beam."""
    if "apache_beam" not in sys.modules:
        yield
        return
    from tests.fixtures.quick_beam import quick_beam

    with quick_beam():
        yield


@pytest.fixture(scope="session")
def whole_release(tmp_path_factory):
    """What a bundle of the whole small corpus is made from."""
    from tests.fixtures.small_release import small_corpus, small_release

    return small_release(tmp_path_factory.mktemp("parts"), small_corpus())


@pytest.fixture(scope="session")
def whole_bundle(whole_release, tmp_path_factory):
    """That bundle; tests must not publish into it."""
    from tests.fixtures.small_release import publish_release

    return publish_release(tmp_path_factory.mktemp("whole") / "small", whole_release)
