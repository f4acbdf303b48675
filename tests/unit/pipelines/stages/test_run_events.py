"""What a run tells logs and metrics."""

import json
import re
from dataclasses import replace

import pytest

from pipelines.cli.reporting import JsonReporter
from pipelines.stages.context import StageContext, record_counters
from pipelines.stages.metrics_file import MetricsFile
from pipelines.stages.run_events import StageEvent
from pipelines.stages.sequence import run_stages
from tests.fixtures.recorder import Recorder
from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tfrs_twotower.artifacts import Layout
from tfrs_twotower.errors import DataError, WorkdirError


def context_of(root, *listeners):
    context = StageContext(Layout(root), tiny_spec(), tiny_run_config(), root, Recorder())
    return replace(context, listeners=listeners)


def test_every_change_of_a_stage_is_told(tmp_path, stages):
    heard = []
    record_counters(tmp_path, "preprocess", {"records": 7})
    run_stages(context_of(tmp_path, heard.append), stages)
    assert [(one.stage, one.state, one.position, one.of) for one in heard] == [
        ("preprocess", "started", 1, 2),
        ("preprocess", "finished", 1, 2),
        ("train", "started", 2, 2),
        ("train", "finished", 2, 2),
    ]
    assert {one.run for one in heard} == {"tiny"}
    assert [one.reason for one in heard if one.state == "started"] == ["there is none yet"] * 2
    assert [dict(one.counters) for one in heard] == [{}, {"records": 7}, {}, {}]
    assert heard[1].seconds > 0
    heard.clear()
    run_stages(context_of(tmp_path, heard.append), stages)
    assert [one.state for one in heard] == ["skipped", "skipped"]


def test_a_failure_is_told_and_stays_a_failure(tmp_path, stages, monkeypatch):
    def fail(_):
        raise DataError("interactions: too many bad records")

    monkeypatch.setattr(stages[1].load(), "run", fail)
    heard = []
    with pytest.raises(DataError):
        run_stages(context_of(tmp_path, heard.append), stages)
    assert (heard[-1].state, heard[-1].reason) == ("failed", "interactions: too many bad records")


def event(stage, state, **more):
    return StageEvent("shop", stage, state, position=1, of=2, **more)


def test_lines_of_json(capsys):
    reporter = JsonReporter()
    reporter.message("before")
    reporter(event("train", "started", reason="the settings changed"))
    for done in (1, 2, 3):
        reporter.progress("train", done, 3, "epoch 1")
    reporter(event("train", "finished", seconds=1.5, counts={"steps": 3}))
    reporter.message("after")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one.pop("time")) for one in lines
    )
    of_stage = {"event": "stage", "stage": "train", "run": "shop", "position": 1, "of": 2}
    assert lines == [
        {"event": "message", "text": "before"},
        {**of_stage, "state": "started", "reason": "the settings changed"},
        *(
            {
                "event": "progress",
                "stage": "train",
                "task": "train",
                "done": done,
                "total": 3,
                "detail": "epoch 1",
            }
            for done in (1, 3)
        ),
        {**of_stage, "state": "finished", "seconds": 1.5, "counts": {"steps": 3}},
        {"event": "message", "text": "after"},
    ]


def samples(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_metrics_of_a_run(tmp_path, stages):
    path = tmp_path / "twotower.prom"
    metrics = MetricsFile(path, tmp_path)
    metrics(event("train", "started"))
    assert not path.exists()
    metrics(event("preprocess", "finished", seconds=2.5, counts={"candidates": 7}))
    metrics(event("train", "failed", seconds=1.0))
    found = samples(path)
    assert found['twotower_stage_seconds{run="shop",stage="preprocess"}'] == 2.5
    assert found['twotower_stage_count{count="candidates",run="shop",stage="preprocess"}'] == 7
    assert found['twotower_stage_failed{run="shop",stage="train"}'] == 1
    assert found['twotower_stage_failed{run="shop",stage="preprocess"}'] == 0
    assert found['twotower_run_stages_done{run="shop"}'] == 1
    assert found['twotower_run_stages{run="shop"}'] == 2
    assert found['twotower_run_last_change_timestamp_seconds{run="shop"}'] > 1.7e9
    assert sorted(one.name for one in tmp_path.iterdir()) == ["twotower.prom"]


def test_a_skipped_stage_keeps_its_seconds(tmp_path, stages):
    path = tmp_path / "twotower.prom"
    run_stages(context_of(tmp_path, MetricsFile(path, tmp_path)), stages)
    name = 'twotower_stage_seconds{run="tiny",stage="train"}'
    (tmp_path / "timings.json").write_text('{"preprocess": 3.5, "train": 4.5}')
    run_stages(context_of(tmp_path, MetricsFile(path, tmp_path)), stages)
    assert samples(path)[name] == 4.5
    assert samples(path)[name.replace("seconds", "skipped")] == 1


def test_a_metrics_file_needs_its_directory(tmp_path):
    with pytest.raises(WorkdirError, match=r"there is no directory .*Make it, or name one"):
        MetricsFile(tmp_path / "no" / "twotower.prom", tmp_path)
