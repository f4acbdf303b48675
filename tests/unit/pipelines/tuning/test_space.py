"""The tables of what may change: they fit the run config, and apply where they mean anything."""

import pytest
import yaml

from pipelines.tuning import space
from pipelines.tuning.rows import Facts, Setting
from pipelines.tuning.search import Choices
from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tfrs_twotower.config import RunConfig, as_override, load_run_config
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.preflight.run import check_run
from tfrs_twotower.specs import FeatureSpec

COUNTS = {"candidates": 40}
METRICS = ("ndcg@10", "recall@100")


def choices(spec=None, config=None, counts=COUNTS):
    return Choices(Facts(spec or tiny_spec(), config or tiny_run_config(), counts), METRICS, 0)


def without(side, *kinds):
    """The tiny spec without some kinds of features of a side, and without what needs them."""
    content = tiny_spec().model_dump(mode="json", exclude_unset=True)
    features = content[side]["features"]
    content[side]["features"] = [one for one in features if one["kind"] not in kinds]
    return parse(FeatureSpec, content, "spec", FeatureSpecError)


def keys(found, part="retrieval"):
    return {row.key for row in found.of(part).rows}


def test_rows_appear_where_the_data_has_what_they_are_about():
    everything = keys(choices())
    assert {"model.history_half_life", "model.token_dropout", "model.history_content"} <= everything
    no_history = keys(choices(without("query", "history")))
    assert not [key for key in no_history if "history" in key]
    no_text = choices(spec=parse_without_texts())
    assert {"model.token_dropout", "model.bag_positions"} & keys(no_text) == set()


def parse_without_texts():
    content = tiny_spec().model_dump(mode="json", exclude_unset=True)
    for side in ("query", "candidate"):
        content[side]["features"] = [
            one for one in content[side]["features"] if one["kind"] != "text"
        ]
    return parse(FeatureSpec, content, "spec", FeatureSpecError)


def test_a_second_stage_is_offered_where_ease_can_be_a_member():
    assert choices().may_have_second_stage
    assert choices().starting_section == {"pre_ranking": dict(space.FIRST_SECOND_STAGE)}
    assert not choices(without("query", "history")).may_have_second_stage
    assert not choices(counts={"candidates": 20_001}).may_have_second_stage
    own = tiny_run_config(pre_ranking={"num_candidates": 100})
    assert choices(without("query", "history"), own).may_have_second_stage
    assert choices(config=own).starting_section == {}


def test_the_value_of_the_config_is_among_the_values_in_its_place():
    config = tiny_run_config(training={"optimizer": {"learning_rate": 0.0042}})
    row = next(
        one for one in choices(config=config).of("retrieval").rows if "learning_rate" in one.key
    )
    assert row.values == (0.0005, 0.001, 0.002, 0.003, 0.0042, 0.005, 0.01)
    assert row.unchanged == 0.0042
    half_life = next(one for one in choices().of("retrieval").rows if "half_life" in one.key)
    assert (half_life.values[-1], half_life.unchanged) == (None, None)


def test_a_section_with_fewer_of_its_defaults_written_is_no_other_value():
    config = tiny_run_config(
        model={"wide": {"kind": "ease"}},
        pre_ranking={"num_candidates": 100, "tastes": {"words": 1500}, "item_knn": {}},
    )
    found = choices(config=config)
    for part, key, others in (
        ("retrieval", "model.wide", [None, 128]),
        ("pre_ranking", "pre_ranking.item_knn", [None, "next"]),
        ("pre_ranking", "pre_ranking.tastes", [None]),
    ):
        (row,) = [one for one in found.of(part).rows if one.key == key]
        written = [one for one in row.values if one != row.unchanged]
        distinguishing = [one and one.get("rank", one.get("pairs")) for one in written]
        assert distinguishing == others, key
    starts = [prior.changes for part in space.SETTINGS for prior in found.of(part).priors]
    assert {"model.wide": {"kind": "ease"}} not in starts
    assert {"pre_ranking.item_knn": {}} not in starts
    assert {"model.wide": {"kind": "ease"}} in [
        prior.changes for prior in choices().of("retrieval").priors
    ]


def test_a_pool_is_never_shorter_than_the_lists_that_are_measured():
    config = tiny_run_config(pre_ranking={"num_candidates": 300})
    (row,) = [
        one
        for one in choices(config=config).of("pre_ranking").rows
        if one.key == "pre_ranking.num_candidates"
    ]
    assert min(row.values) == 100  # recall@100


def test_no_trial_trains_more_than_three_times_as_long_as_the_config():
    epochs = {}
    for own in (4, 30):
        config = tiny_run_config(training={"epochs": own})
        rows = choices(config=config).of("retrieval").rows
        epochs[own] = [row.values for row in rows if row.key == "training.epochs"]
    assert epochs == {4: [(4, 10)], 30: [(10, 20, 30, 40, 80)]}


def test_a_key_that_means_nothing_beside_the_others_is_not_changed():
    rows = (
        Setting("a", ("x", "y"), ""),
        Setting("b", (1, 2), "", only_with=("a", lambda value: value == "y")),
        Setting("c", (1, 2), "", only_with=("other", lambda value: value == "y")),
    )
    unchanged = {"other": "x"}.get
    of = lambda a, b, c: space.effective_changes(rows, {"a": a, "b": b, "c": c}, unchanged)  # noqa: E731
    assert of(0, 1, 1) == {}
    assert of(1, 1, 0) == {"a": "y", "b": 2}
    assert of(1, 0, 1) == {"a": "y"}


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    path = tmp_path_factory.mktemp("documents") / "tiny.yaml"
    config = tiny_run_config(
        pre_ranking={"num_candidates": 100, "ease": {}, "mining": {"depth": 20}}
    )
    settings = config.model_dump(mode="json", exclude_unset=True)
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("part", ["retrieval", "pre_ranking"])
def test_every_value_of_the_table_is_one_that_a_run_takes(document, part):
    """With the value that a row needs beside it, where it needs one."""
    spec = tiny_spec()
    found = choices(spec, load_run_config(document))
    rows = {row.key: row for row in found.of(part).rows}
    for row in rows.values():
        for value in row.values:
            changes = {row.key: value}
            if row.only_with is not None and row.only_with[0] in rows:
                key, fits = row.only_with
                changes = {key: next(one for one in rows[key].values if fits(one)), **changes}
            overrides = tuple(as_override(key, one) for key, one in changes.items())
            config = load_run_config(document, overrides)
            check_run(spec, config)


def test_every_key_of_the_table_is_one_of_the_run_config():
    known = RunConfig.model_json_schema()["$defs"]
    names = {name for part in known.values() for name in part.get("properties", {})}
    for rows in space.SETTINGS.values():
        for row in rows:
            assert row.key.rpartition(".")[2] in names
            assert row.reason


def test_priors_take_values_of_the_table():
    for part, priors in space.PRIORS.items():
        rows = space.SETTINGS[part]
        for prior in priors:
            for key, value in prior.changes.items():
                assert any(row.key == key and value in row.values for row in rows), key
