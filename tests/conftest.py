"""Importing the package chooses Keras 2, before a test module imports TensorFlow."""

import pytest

import tfrs_twotower  # noqa: F401


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
