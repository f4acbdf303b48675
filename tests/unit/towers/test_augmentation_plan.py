import pytest

from tests.unit.specs.documents import spec_data
from tfrs_twotower.config import DatConfig
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.augmentation_plan import plan_augmentation

USER = {"name": "user", "kind": "id"}
ITEM = {"name": "item", "kind": "id"}
HASHED = {"hash_buckets": 100}
TOWN = {"name": "town", "kind": "categorical"}
TEXT = {"name": "text", "kind": "text"}
HISTORY = {"name": "history", "kind": "history"}


def plan(query, candidate, **config):
    spec = spec_data(query={"features": query}, candidate={"features": candidate})
    spec["candidates"]["id"] = "item"
    return plan_augmentation(
        FeatureSpec.model_validate(spec), DatConfig.model_validate({"kind": "dat", **config})
    )


@pytest.mark.parametrize(
    ("query", "candidate", "modes"),
    [
        ([USER, HISTORY], [ITEM], ("learned", "learned")),
        ([HISTORY], [ITEM], ("history_mean", "learned")),
        ([USER | HASHED, HISTORY], [ITEM | HASHED], ("history_mean", "none")),
        ([TEXT], [TEXT, ITEM], ("none", "learned")),
        ([TEXT, USER], [TEXT], ("learned", "none")),
    ],
)
def test_auto_takes_the_features_of_the_spec(query, candidate, modes):
    plans = plan(query, candidate)
    assert (plans["query"].mode, plans["candidate"].mode) == modes


def test_a_learned_side_keeps_its_history_and_segment_for_unknown_ids():
    plans = plan([USER, TOWN, HISTORY], [ITEM], query_segment="town")
    query = plans["query"]
    assert query.id_feature.name == "user"
    assert query.history.name == "history"
    assert query.segment.name == "town"


@pytest.mark.parametrize("mode", ["random", "none"])
def test_modes_that_need_no_feature(mode):
    query = plan([USER, HISTORY], [ITEM], query_augmentation=mode)["query"]
    assert (query.mode, query.id_feature, query.history, query.segment) == (mode, None, None, None)


@pytest.mark.parametrize(
    ("query", "config", "message"),
    [
        (
            [TEXT],
            {"query_augmentation": "learned"},
            r"query_augmentation is learned, but query\.features of the spec has no feature of "
            r"kind id \(with a vocabulary, not hash_buckets\); found text \(text\)\. Add one",
        ),
        (
            [USER],
            {"query_augmentation": "history_mean"},
            r"history_mean, but .* no feature of kind history; found user \(id\)",
        ),
        (
            [USER, TOWN],
            {"query_segment": "user"},
            r"query_segment is 'user', which is not a categorical feature of the query; found "
            r"town \(categorical\)",
        ),
        (
            [HISTORY, TOWN],
            {"query_segment": "town"},
            "query_segment is 'town', but query_augmentation is history_mean; segments are means "
            "of learned vectors",
        ),
    ],
)
def test_a_missing_feature_is_named(query, config, message):
    with pytest.raises(ConfigError, match=message):
        plan(query, [ITEM], **config)


def test_one_side_must_be_augmented():
    with pytest.raises(ConfigError, match=r"neither side is augmented\. Add a feature of kind id"):
        plan([TEXT], [TEXT])
