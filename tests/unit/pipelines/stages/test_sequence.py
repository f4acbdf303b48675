"""Which stages run, with stages that only write a file."""

import dataclasses
import errno
import logging
import sys

import pytest

from pipelines.stages.context import StageContext, only_run_in, open_parent
from pipelines.stages.sequence import (
    STAGES,
    Stage,
    all_up_to_date,
    part_of_run,
    run_stages,
    select_stages,
    stages_for,
)
from tests.fixtures.recorder import Recorder
from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tfrs_twotower.artifacts import Layout, commit, read_manifest, staging_directory
from tfrs_twotower.artifacts.writing import ManifestFields
from tfrs_twotower.errors import ConfigError, SystemFailure, WorkdirError


def context_of(root, **changes):
    return StageContext(Layout(root), tiny_spec(), tiny_run_config(**changes), root, Recorder())


def ran(outcomes):
    return [outcome.name for outcome in outcomes if not outcome.skipped]


def test_an_artifact_may_lie_in_a_place_of_its_own(tmp_path, stages):
    """As an orchestrator has it, which gives every artifact a directory."""
    elsewhere = tmp_path / "elsewhere" / "7"
    alone = dataclasses.replace(
        context_of(tmp_path / "w"), layout=Layout(tmp_path / "w", {"preprocessed": elsewhere})
    )
    (tmp_path / "w").mkdir()
    outcomes = run_stages(alone, stages)
    assert [outcome.directory for outcome in outcomes] == [elsewhere, tmp_path / "w" / "model"]
    assert sorted(path.name for path in (tmp_path / "w").glob("[a-z]*")) == [
        "model",
        "timings.json",
    ]
    assert ran(run_stages(alone, stages)) == []
    assert open_parent(alone, "model").parents == {"preprocessed": outcomes[0].fingerprint}
    assert alone.layout.preprocessed == elsewhere


def test_what_is_up_to_date_is_skipped(tmp_path, stages):
    assert ran(run_stages(context_of(tmp_path), stages)) == ["preprocess", "train"]
    assert ran(run_stages(context_of(tmp_path), stages)) == []
    assert ran(run_stages(context_of(tmp_path), stages, force=True)) == ["preprocess", "train"]


def test_a_changed_setting_runs_only_the_stages_that_read_it(tmp_path, stages):
    run_stages(context_of(tmp_path), stages)
    assert ran(run_stages(context_of(tmp_path, seed=1234), stages)) == ["train"]


def replace_preprocessed(root, text):
    """Another artifact with the same settings, as other tables give one."""
    before = read_manifest(root / "preprocessed", "preprocessed")
    staging = staging_directory(root / "preprocessed")
    (staging / "data.txt").write_text(text)
    fields = before.model_dump(include=set(ManifestFields.__required_keys__))
    return commit(staging, root / "preprocessed", **fields)


def test_a_stage_whose_parent_was_replaced_runs_again(tmp_path, stages):
    run_stages(context_of(tmp_path), stages)
    first = read_manifest(tmp_path / "model", "model")
    other = replace_preprocessed(tmp_path, "other tables")
    assert first.parents["preprocessed"] != other.fingerprint
    assert ran(run_stages(context_of(tmp_path), stages)) == ["train"]
    model = read_manifest(tmp_path / "model", "model")
    assert model.parents["preprocessed"] == other.fingerprint


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_artifact_is_written_again(tmp_path, stages, damage):
    run_stages(context_of(tmp_path), stages)
    path = tmp_path / "model" / "data.txt"
    path.unlink() if damage == "missing" else path.write_text("")
    context = context_of(tmp_path)
    assert ran(run_stages(context, stages)) == ["train"]
    messages = "\n".join(context.reporter.messages)
    assert f"{path}: " in messages
    assert ", so train runs again" in messages


def test_a_second_run_in_the_same_directory_is_refused(tmp_path, stages):
    with only_run_in(tmp_path), pytest.raises(WorkdirError, match="another run is working here"):
        run_stages(context_of(tmp_path), stages)
    assert not (tmp_path / "preprocessed").exists()


def test_from_after_to_is_refused():
    assert [stage.name for stage in select_stages("embed", "export")] == [
        "embed",
        "build-index",
        "mine",
        "train-pre-ranker",
        "export",
    ]
    assert select_stages(None, None) == STAGES
    with pytest.raises(ConfigError, match="found 'export' after 'train'"):
        select_stages("export", "train")


def test_a_stage_is_run_for_with_what_it_needs():
    def needed(target, **sections):
        return names(part_of_run(stages_for(target), tiny_run_config(**sections)))

    assert needed("evaluate") == ["preprocess", "train", "embed", "evaluate"]
    words = {"index": {"kind": "hybrid", "k": 10}}
    with_words = ["preprocess", "train", "embed", "build-index"]
    assert needed("evaluate", **words) == [*with_words, "evaluate"]
    alone = {"pre_ranking": {"models": [], "ease": {}}}
    assert needed("train-pre-ranker", **alone) == ["preprocess", "train", "train-pre-ranker"]
    assert needed("train-pre-ranker", **alone, **words) == [*with_words, "train-pre-ranker"]
    assert needed("mine", pre_ranking={}, **words) == [*with_words, "mine"]
    assert needed("export") == ["preprocess", "train", "embed", "build-index", "export"]
    assert needed("preprocess") == ["preprocess"]


def test_whether_anything_would_run(tmp_path, stages):
    assert not all_up_to_date(context_of(tmp_path), stages)
    run_stages(context_of(tmp_path), stages)
    assert all_up_to_date(context_of(tmp_path), stages)
    assert not all_up_to_date(context_of(tmp_path, seed=1234), stages)


def names(stages):
    return [stage.name for stage in stages]


def test_the_pre_rankers_stages_are_part_of_a_run_that_has_one():
    with_one, without = tiny_run_config(pre_ranking={}), tiny_run_config()
    assert part_of_run(STAGES, with_one) == STAGES
    assert names(part_of_run(STAGES, without)) == [
        "preprocess",
        "train",
        "embed",
        "build-index",
        "export",
        "evaluate",
    ]
    assert names(part_of_run(stages_for("evaluate"), with_one)) == [
        "preprocess",
        "train",
        "embed",
        "mine",
        "train-pre-ranker",
        "evaluate",
    ]


@pytest.mark.parametrize(
    "ends",
    [("mine", "mine"), ("train-pre-ranker", None), (None, "mine"), ("mine", "evaluate")],
)
def test_a_stage_that_is_no_part_of_the_run_cannot_be_asked_for(tmp_path, ends):
    message = r"run 'tiny': the run config has no pre_ranking section, .*`pre_ranking: \{\}`"
    with pytest.raises(ConfigError, match=message):
        run_stages(context_of(tmp_path), select_stages(*ends))
    assert not list(tmp_path.iterdir())


def test_importing_a_stage_hides_warnings_about_optional_parts(tmp_path, monkeypatch, caplog):
    (tmp_path / "chatty_stage.py").write_text(
        "import logging\nlogging.warning('optional cloud')\nlogging.error('broken')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "chatty_stage", raising=False)
    Stage("train", "chatty_stage", "model").load()
    assert caplog.messages == ["broken"]
    assert logging.root.manager.disable == 0


def test_a_failure_of_the_system_names_the_stages_directory(tmp_path, stages, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    run_stages(context_of(tmp_path), stages)
    kept = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    monkeypatch.setattr(stages[1].load(), "run", full)
    with pytest.raises(SystemFailure, match=f"^{tmp_path}/model: No space left on device. Free"):
        run_stages(context_of(tmp_path), stages, force=True)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == kept
