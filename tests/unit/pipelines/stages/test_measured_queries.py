from types import SimpleNamespace

import pytest

from pipelines.stages.measured_queries import split_to_measure


@pytest.mark.parametrize(
    ("validation", "test", "refitted", "split", "learned"),
    [
        (5, 5, False, "validation", False),
        (5, 5, True, "test", False),
        (0, 5, False, "test", False),
        (5, 0, False, "validation", False),
        (5, 0, True, "validation", True),
        (0, 0, True, None, False),
    ],
)
def test_queries_that_the_towers_have_not_learned(validation, test, refitted, split, learned):
    preprocessed = SimpleNamespace(counts={"validation_queries": validation, "test_queries": test})
    model = SimpleNamespace(details={"refitted": True} if refitted else {})
    assert split_to_measure(preprocessed, model) == {
        "refitted": refitted,
        "measured_split": split,
        "learned": learned,
    }
