import pytest

from tests.unit.evaluation.comparison.planted_runs import planted
from tfrs_twotower.evaluation.comparison.comparing_runs import compare_runs


@pytest.fixture(scope="session")
def runs():
    return planted()


@pytest.fixture(scope="session")
def document(runs):
    return compare_runs(runs)


@pytest.fixture(scope="session")
def table(document):
    (table,) = document.tables
    return table
