"""What is looked at before the first stage of a run: its engine, its devices, its cluster."""

import json
from dataclasses import replace

import pytest

from pipelines.stages import train
from pipelines.stages.context import StageContext, only_run_in
from pipelines.stages.processes import join_cluster, reserve_devices
from pipelines.stages.sequence import STAGES, run_stages, select_stages, stages_for
from tests.fixtures.recorder import Recorder
from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tfrs_twotower.artifacts import Layout
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.training import replicas, workers

TRAIN = select_stages("train", "train")


def context_of(root, **changes):
    return StageContext(Layout(root), tiny_spec(), tiny_run_config(**changes), root, Recorder())


@pytest.mark.parametrize(
    ("changes", "reserved"),
    [
        ({}, []),
        ({"training": {"replicas": 2, "batch_size": 8}}, [2]),
        ({"pre_ranking": {"replicas": 4}, "training": {"replicas": 2, "batch_size": 8}}, [4]),
    ],
)
def test_replicas_get_their_devices_before_any_stage_runs(tmp_path, monkeypatch, changes, reserved):
    asked = []
    monkeypatch.setattr(replicas, "reserve_devices", asked.append)
    reserve_devices(context_of(tmp_path, **changes).config, STAGES)
    assert asked == reserved
    reserve_devices(context_of(tmp_path, **changes).config, stages_for("preprocess"))
    assert asked == reserved


def test_an_engine_that_loses_elements_is_refused_before_the_first_stage(tmp_path):
    context = replace(context_of(tmp_path), beam_options=("--runner=DaskRunner",))
    with pytest.raises(ConfigError, match=r"DaskRunner is refused: it drops"):
        run_stages(context, STAGES)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.fixture
def second_worker(monkeypatch):
    """This process is a worker that is not the chief; joining is counted, and does nothing."""
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    joined = []
    monkeypatch.setattr(workers, "join", lambda: joined.append(True))
    return joined


def test_a_worker_joins_first_and_keeps_nothing(tmp_path, monkeypatch, second_worker):
    trained = []

    def help_along(_, directory):
        assert second_worker == [True]
        assert directory.is_dir()
        trained.append(directory)

    monkeypatch.setattr(train, "train_towers", help_along)
    with only_run_in(tmp_path):  # as the chief holds the lock
        (outcome,) = run_stages(context_of(tmp_path), TRAIN)
    assert (outcome.name, outcome.skipped, outcome.fingerprint) == ("train", False, "")
    assert not trained[0].exists()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_cluster_trains_the_towers_and_nothing_else(tmp_path, second_worker):
    context = context_of(tmp_path)
    with pytest.raises(ConfigError, match=r"runs preprocess, train\. .* `twotower train` in each"):
        join_cluster(context, select_stages(None, "train"))
    several = context_of(tmp_path, training={"replicas": 2, "batch_size": 8})
    with pytest.raises(ConfigError, match=r"^training\.replicas is 2, and TF_CONFIG names several"):
        join_cluster(several, TRAIN)
    assert join_cluster(context, stages_for("preprocess"))
    assert second_worker == []
