"""Which version is blessed. Without TFX."""

import dataclasses
import json

import pytest

from pipelines.tfx_dag import blessing, same_queries
from tests.fixtures.recorder import Recorder
from tests.unit.serving.fake_versions import publish_fake
from tfrs_twotower.config import RunConfig
from tfrs_twotower.errors import ConfigError

MEASURES = {"recall@10": 0.4, "overlap@10": 1.0, "coverage@10": 0.5}


@dataclasses.dataclass
class Run:
    """As much of a run as the release gate reads."""

    config: RunConfig
    reporter: Recorder


@pytest.fixture
def run():
    return Run(RunConfig(name="r", spec="s.yaml"), Recorder())


def report_in(directory, standing="ahead", recall=0.3):
    against = {"popularity": {"recall@10": standing}, "ease": {"recall@10": "behind"}}
    document = {
        "verdict": {"system": "cascade", "against": against},
        "systems": {"cascade": {"metrics": {"recall@10": {"mean": recall}}}},
    }
    directory.mkdir()
    (directory / "evaluation.json").write_text(json.dumps(document))
    return directory


def new_version(tmp_path, recall=0.4):
    return publish_fake(tmp_path / "new", 9, measures={**MEASURES, "recall@10": recall})


def judged(run, tmp_path, version, pushed="pushed", report=None, **floors):
    return blessing.judge(run, tmp_path / "new" / "9", tmp_path / pushed, report, floors)


def test_the_first_version_is_compared_with_nothing(run, tmp_path):
    found = judged(run, tmp_path, new_version(tmp_path))
    assert found == blessing.Judgement((), None)
    assert found.is_blessed
    assert json.loads(found.as_json()) == {"blessed": True, "reasons": [], "compared_with": None}


def test_a_fall_behind_the_newest_pushed_version_is_a_reason(run, tmp_path):
    publish_fake(tmp_path / "pushed", 3, measures={**MEASURES, "recall@10": 0.1})
    publish_fake(tmp_path / "pushed", 7, measures=MEASURES)
    found = judged(run, tmp_path, new_version(tmp_path, recall=0.3))
    assert found.compared_with == 7
    assert not found.is_blessed
    assert "recall@10 is 0.3000, 25.0% less than the 0.4000 of version 7" in found.reasons[0]


def test_what_is_worse_than_popularity_is_not_blessed(run, tmp_path):
    new_version(tmp_path)
    found = judged(run, tmp_path, None, report=report_in(tmp_path / "r", "behind"))
    assert found.reasons == (
        "the cascade is significantly worse than popularity in recall@10 on the test queries",
    )
    # Behind another baseline is no reason: that is the release gate's to say.
    assert judged(run, tmp_path, None, report=report_in(tmp_path / "q", "level")).is_blessed


def test_a_floor_may_be_reached(run, tmp_path):
    new_version(tmp_path)
    report = report_in(tmp_path / "r", recall=0.3)
    assert judged(run, tmp_path, None, report=report, **{"recall@10": 0.3}).is_blessed
    below = judged(run, tmp_path, None, report=report, **{"recall@10": 0.31})
    assert below.reasons == ("recall@10 of the cascade is 0.3000 on the test queries, below 0.31",)


def test_a_figure_that_is_no_number_is_below_every_floor(run, tmp_path):
    new_version(tmp_path)
    report = report_in(tmp_path / "r", recall=float("nan"))
    assert not judged(run, tmp_path, None, report=report, **{"recall@10": 0.0}).is_blessed


def test_a_floor_that_cannot_be_measured_is_an_error(run, tmp_path):
    new_version(tmp_path)
    report = report_in(tmp_path / "r")
    with pytest.raises(ConfigError, match=r"'recal@10' is not measured .*did you mean 'recall@10'"):
        judged(run, tmp_path, None, report=report, **{"recal@10": 0.1})
    with pytest.raises(ConfigError, match="recall@10 cannot be measured, because the split has no"):
        judged(run, tmp_path, None, **{"recall@10": 0.1})


def test_both_versions_are_asked_if_there_are_queries(run, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        same_queries, "falls", lambda _, new, served: asked.append((new, served)) or ["it fell"]
    )
    new_version(tmp_path)
    publish_fake(tmp_path / "pushed", 7, measures=MEASURES)
    found = judged(run, tmp_path, None, report=report_in(tmp_path / "r"))
    assert found.reasons == ("it fell",)
    assert asked == [(tmp_path / "new" / "9", tmp_path / "pushed" / "7")]
