import pytest

from serving.bundle.loading import load_bundle
from serving.ops import library
from tfrs_twotower.errors import UnsupportedEnvironment


@pytest.fixture(scope="session")
def whole(whole_bundle):
    """The bundle of the whole small corpus, loaded."""
    return load_bundle(whole_bundle.directory)


@pytest.fixture(scope="session")
def second_stage():
    """The fused operation; tests of it are skipped where nothing can compile it."""
    try:
        library.build()
    except UnsupportedEnvironment as cause:
        pytest.skip(f"the fused operations cannot be compiled: {cause}")
    return library.load().twotower_second_stage
