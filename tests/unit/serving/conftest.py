import pytest

from serving.bundle.loading import load_bundle


@pytest.fixture(scope="session")
def whole(whole_bundle):
    """The bundle of the whole small corpus, loaded."""
    return load_bundle(whole_bundle.directory)
