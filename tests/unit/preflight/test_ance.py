import pytest
from pydantic import ValidationError

from tests.unit.preflight.checking import check, mistake
from tests.unit.preflight.test_run import HISTORY, ITEM, SEARCH, TEXT
from tfrs_twotower.config import AnceConfig


def ance(**settings):
    return {"training": {"ance": settings}}


def test_rounds_fit_any_features_and_bm25_fits_texts():
    check({}, **ance())
    check(SEARCH, **ance(warm_start="bm25", teacher="bm25"))


@pytest.mark.parametrize("key", ["warm_start", "teacher"])
def test_bm25_needs_texts(key):
    message = mistake({}, **ance(**{key: "bm25"}))
    assert f"training.ance.{key} is bm25, which needs a text feature on both sides" in message
    assert "query.features and candidate.features. Set it to none" in message


def test_ease_needs_a_history():
    message = mistake(SEARCH, **ance(teacher="ease"))
    assert "training.ance.teacher is ease, which scores from a query's history" in message


def test_before_there_are_towers_ease_knows_no_history():
    changes = {"query": {"features": [TEXT, HISTORY]}, "candidate": {"features": [ITEM, TEXT]}}
    message = mistake(changes, **ance(warm_start="bm25", teacher="ease"))
    assert "training.ance.teacher is ease, which reads histories as the towers" in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ranks": [10, 12]}, r"found \[10, 12\], which are 3 ranks, and 8 negatives are drawn"),
        ({"ranks": [12, 10], "negatives": 1}, "which are 0 ranks"),
        ({"rounds": 0}, "found 0 with warm_start: none, so that nothing would be mined"),
    ],
)
def test_sections_that_mine_nothing_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        AnceConfig.model_validate(settings)


def test_bm25_alone_is_a_section():
    assert AnceConfig.model_validate({"rounds": 0, "warm_start": "bm25"}).rounds == 0
