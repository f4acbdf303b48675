"""Importing the package chooses Keras 2, before a test module imports TensorFlow."""

import gc

import pytest

import tfrs_twotower  # noqa: F401


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    """Keeps what a local server leaves behind from Python's collector.

    In two of some ten runs a process that had stopped a grpc.aio server crashed later, inside the
    collector. Those tests run in processes of their own, and their garbage stays until these end.
    """
    if item.get_closest_marker("local_server"):
        gc.freeze()


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
