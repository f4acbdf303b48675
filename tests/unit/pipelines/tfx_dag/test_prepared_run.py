"""What components are told, and that it changes with what a stage reads. Without TFX."""

import dataclasses
import json

import pytest

from pipelines.progress import SilentReporter
from pipelines.stages import sequence
from pipelines.stages.context import StageContext
from pipelines.tfx_dag import prepared_run
from tests.fixtures.tiny import tiny_run_config
from tests.integration import preprocess_world as world
from tfrs_twotower.artifacts import Layout, fingerprint
from tfrs_twotower.errors import ConfigError, StaleArtifact
from tfrs_twotower.specs import FeatureSpec

STAGES = {stage.name: stage for stage in sequence.STAGES}


@pytest.fixture
def context(tmp_path):
    for name, lines in (("queries", world.QUERIES), ("candidates", world.CANDIDATES)):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "events.csv").write_text(
        "query,candidate,at,stars,session\nq1,c1,1300000000,5,s\nq2,c2,1300000100,4,t\n"
    )
    spec = FeatureSpec(**world.SPEC)
    return StageContext(Layout(tmp_path), spec, tiny_run_config(), tmp_path, SilentReporter())


def properties(context, name, data_version=""):
    stage = STAGES[name]
    return {
        "spec_fingerprint": fingerprint(context.spec),
        "config_fingerprint": prepared_run.stage_fingerprint(context, stage, data_version),
    }


def test_the_documents_come_back_as_they_were(context, tmp_path):
    text = prepared_run.documents_of(context)
    back = prepared_run.context_of(
        text, "d.json", Layout(tmp_path / "o"), SilentReporter(), ["--x"]
    )
    assert (back.config, back.spec, back.data_root) == (context.config, context.spec, tmp_path)
    assert back.layout.root == tmp_path / "o"
    assert back.beam_options == ("--x",)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run_config": {}, "feature_spec": {}}'])
def test_another_file_is_no_documents(text, tmp_path):
    with pytest.raises(ConfigError, match=r"d\.json: is not what .*twotower tfx run"):
        prepared_run.context_of(text, "d.json", Layout(tmp_path), SilentReporter())


def test_an_unknown_key_of_a_document_is_named(context):
    found = json.loads(prepared_run.documents_of(context))
    found["run_config"]["colour"] = "red"
    with pytest.raises(ConfigError, match=r"d\.json.*colour"):
        prepared_run.context_of(json.dumps(found), "d.json", context.layout, SilentReporter())


def test_a_component_is_given_what_its_stage_reads_and_the_parents_of_that():
    parents = {name: prepared_run.parents_of(stage) for name, stage in STAGES.items()}
    assert parents["preprocess"] == ()
    assert parents["train"] == ("preprocessed",)
    assert parents["embed"] == ("preprocessed", "model")
    assert parents["build-index"] == ("preprocessed", "model", "embeddings")
    # A pre-ranker was made from negatives, whose manifest an export compares.
    assert parents["export"] == (
        "preprocessed", "model", "embeddings", "index", "negatives", "pre_ranker",
    )  # fmt: skip
    assert parents["evaluate"] == (*parents["export"], "bundle")


def test_a_run_without_second_stage_has_none_of_its_artifacts(context):
    config = context.config.model_copy(update={"pre_ranking": None})
    assert [stage.name for stage in prepared_run.stages_of(config)] == [
        "preprocess", "train", "embed", "build-index", "export", "evaluate",
    ]  # fmt: skip
    assert prepared_run.parents_of(STAGES["export"], config) == (
        "preprocessed", "model", "embeddings", "index",
    )  # fmt: skip


def test_the_rows_of_a_table_are_part_of_what_the_cache_sees(context, tmp_path):
    before, tables = properties(context, "preprocess"), prepared_run.tables_of(context)
    with (tmp_path / "events.csv").open("a") as stream:
        stream.write("q3,c3,1300000200,5,u\n")
    changed = prepared_run.tables_of(context)
    assert properties(context, "preprocess") != before
    assert {name for name in tables if tables[name] != changed[name]} == {"interactions"}
    assert changed["interactions"].path == str(tmp_path / "events.csv")


def test_a_given_version_stands_for_the_rows(context, tmp_path):
    (tmp_path / "events.csv").unlink()
    first = properties(context, "preprocess", "2026-11-20")
    assert first != properties(context, "preprocess", "2026-11-21")
    assert prepared_run.tables_of(context, "2026-11-20")["queries"].content == "2026-11-20"
    prepared_run.check_unchanged(context, STAGES["preprocess"], "d.json", first)


def test_a_setting_concerns_the_stages_that_read_it(context):
    evaluate = context.config.evaluate.model_copy(update={"ks": (3,)})
    config = context.config.model_copy(update={"evaluate": evaluate})
    other = dataclasses.replace(context, config=config)
    names = [stage.name for stage in prepared_run.stages_of(config)]
    changed = [name for name in names if properties(context, name) != properties(other, name)]
    assert changed == ["evaluate"]


def test_what_was_changed_after_the_pipeline_was_made_is_refused(context, tmp_path):
    made = properties(context, "preprocess")
    prepared_run.check_unchanged(context, STAGES["preprocess"], "d.json", made)
    (tmp_path / "events.csv").write_text((tmp_path / "events.csv").read_text() + "q9,c3,1,5,u\n")
    with pytest.raises(StaleArtifact, match=r"d\.json: the config and files of preprocess have"):
        prepared_run.check_unchanged(context, STAGES["preprocess"], "d.json", made)
    spec = context.spec.model_copy(update={"description": "other"})
    other = dataclasses.replace(context, spec=spec)
    with pytest.raises(StaleArtifact, match="the feature spec have fingerprint"):
        prepared_run.check_unchanged(other, STAGES["train"], "d.json", properties(context, "train"))
