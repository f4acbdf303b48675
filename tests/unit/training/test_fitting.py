import json

import numpy as np
import pytest

from tests.unit.training.toy import toy_config, toy_model, toy_queries, toy_table
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.losses.sampling_probability import StreamingFrequency
from tfrs_twotower.training.fitting import Fitting
from tfrs_twotower.training.plan import plan_fit
from tfrs_twotower.training.validation import Validator


def prepare(directory, model=None, validate=True, report=lambda _: None, **changes):
    directory.mkdir(exist_ok=True)
    config = toy_config(**changes)
    model = model or toy_model(learn_temperature=True, optimizer=config.optimizer)
    table = toy_table()
    validator = Validator(
        model.towers,
        dict(model._sampling.corpus_tokens),
        toy_queries(),
        ("recall@1",),
    )
    return model, Fitting(
        model,
        table,
        plan_fit(len(table), config.batch_size, config),
        config,
        seed=5,
        validator=validator if validate else None,
        directory=directory / "checkpoints",
        log_path=directory / "log.jsonl",
        log_position=0,
        strategy=None,
        report=report,
    )


def weights_of(model):
    return {v.name: v.numpy() for v in model.variables}


def log_of(directory):
    lines = (directory / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(s).items() if k != "examples_per_s"} for s in lines]


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("kill_at", [1, 7, 23, 32])
def test_resuming_gives_the_same_log_and_the_same_bits(tmp_path, kill_at):
    def streaming():
        frequency = StreamingFrequency(50, initial_gap=2.0)
        return toy_model(learn_temperature=True, num_uniform=4, frequency=frequency)

    whole_model, whole = prepare(tmp_path / "whole", streaming())
    expected = whole.run()

    def interrupt(report):
        if report.step == kill_at:
            raise Interrupted("killed")

    _, killed = prepare(tmp_path / "killed", streaming(), report=interrupt)
    with pytest.raises(Interrupted, match="killed"):
        killed.run()
    model, resumed = prepare(tmp_path / "killed", streaming())
    result = resumed.run()
    assert (result.step, result.best_step) == (expected.step, expected.best_step)
    assert result.validation == expected.validation
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")
    for name, value in weights_of(whole_model).items():
        np.testing.assert_array_equal(value, weights_of(model)[name], err_msg=name)


@pytest.mark.parametrize("kill_at", [5, 12, 14])
def test_resuming_inside_the_warm_up_and_after_it_keeps_the_rates(tmp_path, kill_at):
    """The rate is that of the step, counted from the start of training, not of the process."""
    schedule = {"learning_rate": 0.06, "warmup_steps": 12, "decay": "cosine"}
    changes = {"optimizer": schedule, "epochs": 2, "checkpoint_every_steps": 2}

    def interrupt(report):
        if report.step == kill_at:
            raise Interrupted("killed")

    whole_model, whole = prepare(tmp_path / "whole", **changes)
    whole.run()
    _, killed = prepare(tmp_path / "killed", report=interrupt, **changes)
    with pytest.raises(Interrupted, match="killed"):
        killed.run()
    model, resumed = prepare(tmp_path / "killed", **changes)
    resumed.run()
    rates = [entry["learning_rate"] for entry in log_of(tmp_path / "killed")]
    warming = [0.06 * step / 12 for step in range(1, 13)]
    decaying = [0.03 * (1 + np.cos(np.pi * step / 20)) for step in range(1, 21)]
    np.testing.assert_allclose(rates, warming + decaying, rtol=1e-9, atol=1e-12)
    for name, value in weights_of(whole_model).items():
        np.testing.assert_array_equal(value, weights_of(model)[name], err_msg=name)


def test_a_resumed_training_knows_its_best_value(tmp_path):
    """The planted figures fall: a training that forgot the first would keep the second."""

    class Falling:
        def measure(self):
            return {"recall@1": 1.0 / fitting._progress.step}

    def interrupt(report):
        if report.step == 23:
            raise Interrupted("killed")

    _, fitting = prepare(tmp_path, report=interrupt)
    fitting._validator = Falling()
    with pytest.raises(Interrupted, match="killed"):
        fitting.run()
    _, fitting = prepare(tmp_path)
    fitting._validator = Falling()
    result = fitting.run()
    assert result.step > 23
    assert (result.best_step, result.validation) == (16, {"recall@1": 1.0 / 16})


def test_a_finished_training_is_not_repeated(tmp_path):
    model, fitting = prepare(tmp_path)
    expected = fitting.run()
    steps = []
    again_model, again = prepare(tmp_path, report=lambda r: steps.append(r.step))
    result = again.run()
    assert steps == []
    assert result == expected
    for name, value in weights_of(model).items():
        np.testing.assert_array_equal(value, weights_of(again_model)[name])


def test_the_same_seed_gives_the_same_bits(tmp_path):
    first, fitting = prepare(tmp_path / "a")
    fitting.run()
    second, fitting = prepare(tmp_path / "b")
    fitting.run()
    for name, value in weights_of(first).items():
        np.testing.assert_array_equal(value, weights_of(second)[name])


def test_early_stopping_keeps_the_best_weights(tmp_path):
    model, fitting = prepare(tmp_path, epochs=50)
    result = fitting.run()
    # Recall@1 reaches 1 and cannot improve: two more evaluations, then the end.
    assert result.validation["recall@1"] == 1.0
    assert result.step == result.best_step + 2 * 16 < 50 * 16
    validator = Validator(
        model.towers,
        dict(model._sampling.corpus_tokens),
        toy_queries(),
        ("recall@1",),
    )
    # Embedding health identifies the weights: they are those of the best step, not the last.
    assert validator.measure() == result.validation
    last = [entry for entry in log_of(tmp_path) if "validation" in entry][-1]
    assert last["validation"] != result.validation


def test_without_early_stopping_the_last_weights_are_kept(tmp_path):
    _, fitting = prepare(tmp_path, epochs=2, early_stopping=None)
    result = fitting.run()
    assert result.step == result.best_step == 32
    assert result.validation is not None
    assert len([entry for entry in log_of(tmp_path) if "validation" in entry]) == 2


def test_without_validation_it_runs_to_the_end(tmp_path):
    _, fitting = prepare(tmp_path, epochs=1, validate=False)
    result = fitting.run()
    assert (result.best_step, result.validation) == (16, None)


def test_reports_and_log_state_the_progress(tmp_path):
    reports = []
    _, fitting = prepare(tmp_path, epochs=1, report=reports.append)
    fitting.run()
    assert [r.step for r in reports] == list(range(1, 17))
    assert reports[-1].total_steps == 16
    assert reports[-1].epoch == 1.0
    assert reports[-1].eta_s == 0.0
    assert set(reports[0].losses) == {"loss", "retrieval", "gradient_norm"}
    assert set(reports[-1].validation) == {
        "recall@1",
        "mean_norm",
        "mean_cosine",
        "alignment",
        "uniformity",
    }
    entries = log_of(tmp_path)
    assert [e["step"] for e in entries] == list(range(1, 17))
    assert entries[3]["loss"] == reports[3].losses["loss"]
    assert "validation" in entries[-1]


def test_divergence_is_reported_and_the_last_good_checkpoint_stays(tmp_path):
    model, fitting = prepare(tmp_path, epochs=1)

    def poison(report):
        if report.step == 9:
            table = model.towers.query.table
            table.assign(table * float("nan"))

    fitting._report = poison
    with pytest.raises(TrainingError, match=r"diverged at step 10: the loss is nan.*learning rate"):
        fitting.run()
    restored, again = prepare(tmp_path, epochs=1)
    assert again._checkpoints.restore()["step"] == 7
    assert np.isfinite(restored.towers.query.table.numpy()).all()
