"""The search as a whole, with planted trials: budget, kills, failures, the files at the end."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.progress import SilentReporter
from pipelines.stages.context import StageContext
from pipelines.tuning import tuning
from pipelines.tuning.tuning_document import Trial, relative_gain
from tests.fixtures.recorder import Recorder
from tests.fixtures.tiny import tiny_run_config
from tests.unit.pipelines.comparing.documents import dump, write_documents
from tfrs_twotower.artifacts import Layout
from tfrs_twotower.config import load_run_config
from tfrs_twotower.errors import ConfigError, TrainingError, WorkdirError
from tfrs_twotower.specs import load_spec

METRICS = ("ndcg@10", "recall@100")


def worth(changes):
    """The planted world: a half-life of 16 and small steps are better; EASE adds a little."""
    value = 0.2
    value += {8: 0.01, 16: 0.05}.get(changes.get("model.history_half_life"), 0.0)
    value += 0.02 if changes.get("training.optimizer.learning_rate") == 0.001 else 0.0
    value -= 0.1 if changes.get("model.history_encoder") == "transformer" else 0.0
    value += 0.01 if "pre_ranking" in changes else 0.0
    return value + (0.03 if changes.get("pre_ranking.ease.l2") == 500 else 0.0)


class Killed(BaseException):
    pass


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A run config, and `search(...)` on planted trials.

    `world.kill_at` ends the process in that trial; `world.shift` changes what is held out;
    `world.clock` is the time in seconds, of which a trial takes 60.
    """
    documents = write_documents(tmp_path)
    state = SimpleNamespace(
        documents=documents, run=documents / "one.yaml", kill_at=None, shift=0.0, clock=0.0,
        trained=[], states={}, reporter=SilentReporter(),
    )  # fmt: skip

    class Planted:
        def __init__(self, context, document, overrides, directory, data, metrics, reporter):
            self.directory = directory

        def run(self, part, number, proposal, reference, *, behind=None, judge=None, title=""):
            settings = {**(behind.changes if behind else {}), **proposal.changes}
            if len(state.trained) == state.kill_at:
                raise Killed
            state.trained.append((part, number, settings))
            state.clock += 60.0
            self.directory_of(part, number, behind).mkdir(parents=True, exist_ok=True)
            record = Trial(
                part=part, number=number, behind=None if behind is None else behind.number,
                why=proposal.why, places=proposal.places, changes=proposal.changes,
                state=state.states.get((part, number), "complete"), seconds=60.0,
            )  # fmt: skip
            if record.state != "complete":
                return record.model_copy(update={"message": "it diverged"})
            metrics = dict.fromkeys(METRICS, worth(settings))
            gain = relative_gain(metrics, reference.metrics if reference else metrics)
            found = {"metrics": metrics, "in_training": metrics, "gain": gain}
            return record.model_copy(update=found)

        def directory_of(self, part, number, behind):
            name = f"{part}-{number}-{behind.number if behind else ''}"
            return self.directory / "trials" / name

        def keep_only(self, needed):
            self.kept = [path.name for path in needed]
            assert all(path.is_dir() for path in needed)

        def held_out(self, root, changes, title):
            shift = state.shift if changes else 0.0
            return dict.fromkeys(METRICS, np.full(30, worth(changes) + shift))

    halves = SimpleNamespace(
        counts={"validation_queries": 31, "test_queries": 30, "candidates": 40}, fingerprint="f"
    )
    monkeypatch.setattr(tuning, "Trials", Planted)
    monkeypatch.setattr(tuning, "write_halves", lambda source, destination: halves)
    monkeypatch.setattr(tuning.time, "monotonic", lambda: state.clock)

    def search(workdir="w", trials=None, minutes=None, seed=0, out="one_tuned.yaml"):
        root = tmp_path / workdir
        root.mkdir(exist_ok=True)
        config = load_run_config(state.run)
        context = StageContext(
            Layout(root), load_spec(documents / "tiny.yaml"), config, tmp_path, state.reporter
        )
        plan = tuning.Plan(state.run, (), METRICS, seed, tmp_path / out, trials, minutes)
        state.trained.clear()
        return tuning.search(context, plan, state.clock)

    state.search = search
    return state


def test_what_is_planted_is_found_and_explained(world):
    found = world.search(trials=30)
    config = load_run_config(world.documents / "one_tuned.yaml")
    assert config.model.history_half_life == 16
    assert config.model.history_encoder == "mean"
    assert config.training.optimizer.learning_rate == 0.001
    assert config.pre_ranking.ease.l2 == 500
    assert config.training.epochs == tiny_run_config().training.epochs
    expected = (0.2 + 0.05 + 0.02 + 0.01 + 0.03) / 0.2 - 1.0
    assert found.outcome.held_out_gain == pytest.approx(expected)
    text = (world.documents / "one_tuned.yaml").read_text()
    assert "# was null: how much sooner than older events recent ones count; best of" in text
    page = (world.documents / "w" / "tuning" / "index.html").read_text()
    assert "model.history_half_life" in page
    assert sum(one.trained for one in found.trials) == 30


def test_trial_0_is_the_config_as_it_is(world):
    world.search(trials=3)
    assert world.trained[0] == ("retrieval", 0, {})


@pytest.mark.parametrize("kill_at", [0, 1, 4, 9])
def test_a_killed_search_ends_with_the_same_file(world, kill_at):
    world.search("whole", trials=12, out="whole.yaml")
    world.kill_at = kill_at
    with pytest.raises(Killed):
        world.search("killed", trials=12, out="killed.yaml")
    assert not (world.documents / "killed.yaml").exists()
    world.kill_at = None
    found = world.search("killed", trials=12, out="killed.yaml")
    assert len(world.trained) == 12 - kill_at
    assert len(found.trials) >= 12
    files = [(world.documents / f"{name}.yaml").read_text() for name in ("whole", "killed")]
    assert files[0] == files[1]


def test_minutes_only_end_it_sooner(world):
    """Of 10 minutes two thirds are for the towers; a trial takes one."""
    whole = world.search("whole", trials=24, out="whole.yaml")
    found = world.search("w", trials=24, minutes=10)
    parts = [one.part for one in found.trials if one.trained]
    assert (parts.count("retrieval"), parts.count("pre_ranking")) == (6, 4)
    towers = [one for one in whole.trials if one.part == "retrieval"]
    assert [one.changes for one in found.trials if one.part == "retrieval"] == [
        one.changes for one in towers
    ][: len([one for one in found.trials if one.part == "retrieval"])]


def test_time_for_the_estimate_is_left(world):
    world.search("w", trials=1)
    path = world.documents / "w" / "tuning" / "tuning.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "estimate_seconds": 240.0}))
    found = world.search("w", minutes=10)
    assert sum(one.trained for one in found.trials) <= 10 - 4 + 1


def test_time_for_a_slow_second_stage_is_left(world):
    """It takes five of ten minutes, so that the towers get less than their two thirds."""
    settings = tiny_run_config(
        pre_ranking={"num_candidates": 100, "models": [], "ease": {}, "mining": {"depth": 20}}
    ).model_dump(mode="json", exclude_unset=True)
    dump(world.run, {**settings, "name": "one"})
    world.search("w", trials=1)
    path = world.documents / "w" / "tuning" / "tuning.json"
    content = json.loads(path.read_text())
    content["trials"][1]["seconds"] = 300.0
    path.write_text(json.dumps(content))
    world.search("w", minutes=10)
    parts = [part for part, _, _ in world.trained]
    assert parts.count("retrieval") == 5


def test_a_winner_that_is_behind_on_held_out_queries_changes_nothing(world):
    world.shift = -0.2
    found = world.search(trials=12)
    assert found.outcome.changed == ()
    before, after = (
        load_run_config(world.documents / name) for name in ("one.yaml", "one_tuned.yaml")
    )
    assert after == before
    assert "\n# Nothing is changed: the best" in (world.documents / "one_tuned.yaml").read_text()


def test_a_config_with_a_second_stage_is_measured_with_it(world):
    settings = tiny_run_config(
        pre_ranking={"num_candidates": 100, "models": [], "ease": {}, "mining": {"depth": 20}}
    ).model_dump(mode="json", exclude_unset=True)
    dump(world.run, {**settings, "name": "one"})
    found = world.search(trials=9)
    assert [(part, number) for part, number, _ in world.trained[:2]] == [
        ("retrieval", 0), ("pre_ranking", 0),
    ]  # fmt: skip
    behind = {one.behind for one in found.trials if one.part == "pre_ranking"}
    best = max((one for one in found.trials if one.part == "retrieval"), key=lambda one: one.gain)
    assert behind == {0, best.number}
    assert found.outcome.held_out_gain > 0


def test_a_trial_that_fails_does_not_end_the_search(world):
    world.states = {("retrieval", 1): "failed", ("retrieval", 3): "pruned"}
    found = world.search(trials=9)
    assert [one.state for one in found.trials][:4] == ["complete", "failed", "complete", "pruned"]
    assert found.outcome.changed


def test_a_config_that_cannot_be_trained_is_said_to_be_one(world):
    world.states = {("retrieval", 0): "failed"}
    with pytest.raises(TrainingError, match="the config as it is fails: it diverged"):
        world.search(trials=3)


def test_another_search_in_the_directory_is_refused(world):
    world.search(trials=3)
    with pytest.raises(WorkdirError, match="is a search with other tables, settings"):
        world.search(trials=3, seed=1)
    dump(world.run, {**tiny_run_config().model_dump(mode="json"), "name": "one", "seed": 8})
    with pytest.raises(WorkdirError, match="to search anew"):
        world.search(trials=3)


def test_more_trials_go_on_where_fewer_ended(world):
    world.search("w", trials=6)
    world.search("w", trials=12, out="more.yaml")
    assert len(world.trained) < 12
    world.search("whole", trials=12, out="whole.yaml")
    assert (world.documents / "more.yaml").read_text() == (
        world.documents / "whole.yaml"
    ).read_text()


def test_each_trial_is_one_line(world):
    world.reporter = Recorder()
    world.search(trials=3)
    lines = world.reporter.messages
    assert lines[0] == "31 validation queries for the search, 30 held out to judge its result by"
    assert lines[1].startswith("retrieval 0 (the config as it is): +0.00%, ndcg@10 0.2000")
    assert "model.history_half_life=8" in lines[2]


def test_a_run_that_measures_nothing_is_refused(world):
    settings = tiny_run_config(training={"early_stopping": None}).model_dump(mode="json")
    dump(world.run, {**settings, "name": "one"})
    config = load_run_config(world.run)
    context = SimpleNamespace(config=config)
    plan = tuning.Plan(world.run, (), METRICS, 0, world.documents / "x.yaml", 3)
    with pytest.raises(ConfigError, match=r"training\.early_stopping is null"):
        tuning.tune(context, plan)
