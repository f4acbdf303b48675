"""Which stages run, with stages that only write a file."""

import logging
import sys
from types import ModuleType

import pytest

from pipelines.stages.context import SilentReporter, StageContext
from pipelines.stages.order import STAGES, Stage, run_stages, select_stages
from pipelines.stages.workdir import only_run_in
from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tfrs_twotower.artifacts import Layout, commit, fingerprint, read_manifest, staging_directory
from tfrs_twotower.errors import ConfigError, WorkdirError


class Recorder(SilentReporter):
    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)


@pytest.fixture
def stages(monkeypatch):
    """Two stages, `train` reading what `preprocess` wrote."""
    made = []
    for name, kind, parents in (
        ("preprocess", "preprocessed", ()),
        ("train", "model", ("preprocessed",)),
    ):
        module = ModuleType(f"fake_{name}")

        def run(context, kind=kind, parents=parents, module=module):
            destination = context.layout.root / kind
            staging = staging_directory(destination)
            (staging / "data.txt").write_text(f"{kind} {context.config.seed}")
            return commit(
                staging,
                destination,
                kind=kind,
                spec_fingerprint=fingerprint(context.spec),
                config_fingerprint=module.config_fingerprint(context),
                parents={p: read_manifest(context.layout.root / p, p).fingerprint for p in parents},
                counts={},
            )

        module.run = run
        module.config_fingerprint = lambda context, kind=kind: (
            f"seed {context.config.seed}" if kind == "model" else "always"
        )
        monkeypatch.setitem(sys.modules, module.__name__, module)
        made.append(Stage(name, module.__name__, kind))
    return made


def context_of(root, **changes):
    return StageContext(Layout(root), tiny_spec(), tiny_run_config(**changes), root, Recorder())


def ran(outcomes):
    return [outcome.name for outcome in outcomes if not outcome.skipped]


def test_what_is_up_to_date_is_skipped(tmp_path, stages):
    assert ran(run_stages(context_of(tmp_path), stages)) == ["preprocess", "train"]
    assert ran(run_stages(context_of(tmp_path), stages)) == []
    assert ran(run_stages(context_of(tmp_path), stages, force=True)) == ["preprocess", "train"]


def test_a_changed_setting_runs_only_the_stages_that_read_it(tmp_path, stages):
    run_stages(context_of(tmp_path), stages)
    assert ran(run_stages(context_of(tmp_path, seed=1234), stages)) == ["train"]


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_artifact_is_written_again(tmp_path, stages, damage):
    run_stages(context_of(tmp_path), stages)
    path = tmp_path / "model" / "data.txt"
    path.unlink() if damage == "missing" else path.write_text("")
    context = context_of(tmp_path)
    assert ran(run_stages(context, stages)) == ["train"]
    said = "\n".join(context.reporter.messages)
    assert f"{path}: " in said
    assert ", so train runs again" in said


def test_a_second_run_in_the_same_directory_is_refused(tmp_path, stages):
    with only_run_in(tmp_path), pytest.raises(WorkdirError, match="another run is working here"):
        run_stages(context_of(tmp_path), stages)
    assert not (tmp_path / "preprocessed").exists()


def test_from_after_to_is_refused():
    assert [stage.name for stage in select_stages("embed", "export")] == [
        "embed",
        "build-index",
        "export",
    ]
    assert select_stages(None, None) == STAGES
    with pytest.raises(ConfigError, match="found 'export' after 'train'"):
        select_stages("export", "train")


def test_importing_a_stage_hides_warnings_about_optional_parts(tmp_path, monkeypatch, caplog):
    (tmp_path / "chatty_stage.py").write_text(
        "import logging\nlogging.warning('optional cloud')\nlogging.error('broken')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "chatty_stage", raising=False)
    Stage("train", "chatty_stage", "model").load()
    assert caplog.messages == ["broken"]
    assert logging.root.manager.disable == 0
