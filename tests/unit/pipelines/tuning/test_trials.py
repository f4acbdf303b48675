"""One trial: what it is configured with, what ends it, and what is left of it."""

from types import SimpleNamespace

import pytest

from pipelines.stages.context import StageContext
from pipelines.tuning import trials
from pipelines.tuning.search import Proposal, Pruned
from pipelines.tuning.tuning_document import Trial
from tests.fixtures.recorder import Recorder
from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tests.unit.pipelines.comparing.documents import write_documents
from tfrs_twotower.artifacts import Layout
from tfrs_twotower.errors import ConfigError, SystemFailure, TrainingError

METRICS = ("ndcg@10", "recall@10")


def test_a_trial_learns_no_validation_query_and_measures_every_metric():
    stopping = {"metric": "recall@5"}
    config = tiny_run_config(
        training={"refit": True, "early_stopping": stopping}, pre_ranking={"num_candidates": 20}
    )
    found = trials.for_trial(config, METRICS)
    assert not found.training.refit
    assert found.training.early_stopping.metric == "recall@5"
    assert found.training.early_stopping.further_metrics == METRICS
    assert found.pre_ranking.early_stopping.metric == "ndcg@10"
    assert found.pre_ranking.early_stopping.further_metrics == METRICS
    assert found.evaluate.baselines == ()
    assert found.model == config.model


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Trials whose stages are planted: `runner.stages(context)` stands for them."""
    documents = write_documents(tmp_path)
    reporter = Recorder()
    context = StageContext(Layout(tmp_path), tiny_spec(), tiny_run_config(), tmp_path, Recorder())
    data = tmp_path / "data"
    data.mkdir()
    (data / "corpus").write_text("c")
    state = SimpleNamespace(evaluations=[], end=None, contexts=[], wide=None)

    def run_stages(context, stages):
        state.contexts.append((context, [one.name for one in stages]))
        for values in state.evaluations:
            context.watch(dict(zip(METRICS, values, strict=True)))
        context.reporter.progress("train", 1, 2, "epoch 1")
        context.reporter.message("dropped")
        if state.end is not None:
            raise state.end

    def read_manifest(directory, kind):
        values = dict(zip(METRICS, state.evaluations[-1], strict=True))
        named = {f"cascade {name}": value for name, value in values.items()}
        return SimpleNamespace(details={"validation": {**values, **named}, "wide": state.wide})

    monkeypatch.setattr(trials, "run_stages", run_stages)
    monkeypatch.setattr(trials, "read_manifest", read_manifest)
    monkeypatch.setattr(trials, "_forget_graphs", lambda: None)
    found = trials.Trials(
        context, documents / "one.yaml", (), tmp_path / "tuning", data, METRICS, reporter
    )
    found.directory.mkdir()
    return found, state, reporter


def proposal(**changes):
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    return Proposal({"x": 1}, keys, "search")


def first(served, in_training):
    return Trial(
        part="retrieval", number=0, why="", places={}, changes={}, state="complete",
        metrics=dict(zip(METRICS, served, strict=True)),
        in_training=dict(zip(METRICS, in_training, strict=True)),
    )  # fmt: skip


REFERENCE = first((0.2, 0.4), (0.2, 0.4))


def test_the_gain_is_that_of_the_kept_weights_and_of_each_evaluation(runner):
    found, state, reporter = runner
    state.evaluations = [(0.1, 0.4), (0.3, 0.4)]
    trial = found.run("retrieval", 3, proposal(model__embedding_dim=32), REFERENCE, title="trial 4")
    assert trial.state == "complete"
    assert trial.gain == pytest.approx(0.25)
    assert trial.evaluations == pytest.approx((-0.25, 0.25))
    ((context, stages),) = state.contexts
    assert stages == ["train"]
    assert context.config.model.embedding_dim == 32
    assert (context.layout.preprocessed / "corpus").read_text() == "c"
    assert reporter.steps == [("trial 4", 1, 2, "train, epoch 1")]
    assert reporter.messages == []
    assert not (found.directory / "begun.txt").exists()


@pytest.mark.parametrize(("used", "gain"), [(True, 0.75), (False, 0.25)])
def test_towers_with_a_wide_part_are_worth_what_they_find_with_it(runner, used, gain):
    found, state, _ = runner
    state.evaluations = [(0.3, 0.4)]
    state.wide = {"used": used}
    if used:
        state.wide |= {"ndcg@10_out_of_fold": 0.4, "recall@10_out_of_fold": 0.6}
    trial = found.run("retrieval", 3, proposal(), first((0.2, 0.4), (0.2, 0.2)))
    assert trial.gain == pytest.approx(gain)
    # Epochs measure the trained part alone, and are compared with that part.
    assert trial.evaluations == pytest.approx(((0.3 / 0.2 + 0.4 / 0.2) / 2 - 1,))
    assert trial.in_training == dict(zip(METRICS, (0.3, 0.4), strict=True))
    alone = found.run("retrieval", 0, proposal(), None)
    assert (alone.gain, alone.evaluations) == (0.0, (0.0,))


def test_a_training_that_the_judge_ends_is_pruned(runner):
    found, state, _ = runner
    state.evaluations = [(0.1, 0.2), (0.1, 0.2)]

    def judge(gain):
        assert gain == pytest.approx(-0.5)
        raise Pruned

    trial = found.run("retrieval", 1, proposal(), REFERENCE, judge=judge)
    assert (trial.state, trial.gain, len(trial.evaluations)) == ("pruned", None, 1)


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (TrainingError("it diverged"), "failed"),
        (SystemFailure("x: Cannot allocate memory. Use less."), "failed"),
        (SystemFailure("x: No space left on device. Free some."), None),
        (KeyboardInterrupt(), None),
    ],
)
def test_only_what_settings_can_cause_is_a_failed_trial(runner, end, state):
    found, planted, _ = runner
    planted.end = end
    if state is None:
        with pytest.raises(type(end)):
            found.run("retrieval", 1, proposal(), REFERENCE)
        return
    trial = found.run("retrieval", 1, proposal(), REFERENCE)
    assert (trial.state, trial.message) == (state, str(end))


def test_settings_that_do_not_go_together_train_nothing(runner):
    found, state, _ = runner
    trial = found.run("retrieval", 1, proposal(training__softmax__weight=0.0), REFERENCE)
    assert trial.state == "refused"
    assert "training.softmax.weight is 0" in trial.message
    assert state.contexts == []


def test_a_trial_that_ends_the_process_three_times_has_failed(runner):
    """The fourth time it is not begun; another trial counts anew."""
    found, state, _ = runner
    state.end = KeyboardInterrupt()  # as if the process were killed: nothing is recorded
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            found.run("retrieval", 1, proposal(), REFERENCE)
    trial = found.run("retrieval", 1, proposal(), REFERENCE)
    assert trial.state == "failed"
    assert "was the memory full?" in trial.message
    with pytest.raises(KeyboardInterrupt):
        found.run("retrieval", 2, proposal(), REFERENCE)


def test_a_second_stage_stands_behind_the_towers_of_its_trial(runner):
    found, state, _ = runner
    state.evaluations = [(0.2, 0.4)]
    towers = found.run("retrieval", 2, proposal(model__embedding_dim=32), REFERENCE)
    model = found.directory_of("retrieval", 2, None) / "model"
    model.mkdir()
    (model / "weights").write_text("w")
    state.evaluations = []
    section = {"num_candidates": 100, "models": [], "ease": {}, "mining": {"depth": 20}}
    with pytest.raises(IndexError):  # nothing was measured while it trained
        found.run("pre_ranking", 0, proposal(pre_ranking=section), REFERENCE, behind=towers)
    context, stages = state.contexts[-1]
    assert stages == ["train-pre-ranker"]  # nothing is mined without trained members
    assert context.config.model.embedding_dim == 32
    assert context.watch is None
    assert (context.layout.model / "weights").read_text() == "w"


def test_a_config_that_does_not_fit_the_spec_is_refused(runner):
    with pytest.raises(ConfigError, match="logq_strength"):
        runner[0].config({"training.softmax.logq": "none", "training.softmax.logq_strength": 0.5})
