import json
import shutil
from itertools import groupby

import numpy as np
import pytest

from tests.fixtures.tiny import tiny_run_config, tiny_spec, write_tiny_preprocessed
from tfrs_twotower.artifacts import layout
from tfrs_twotower.config import PlainTowerConfig
from tfrs_twotower.data.first_fit import FirstFitRecall
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.towers.storage import load_towers, read_weights
from tfrs_twotower.training.train import train

MODEL = {"embedding_dim": 8}


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny") / "preprocessed"
    write_tiny_preprocessed(directory)
    return directory


def config_of(model=(), **training):
    present = tiny_run_config().training.model_dump(mode="json")
    return tiny_run_config(model={**MODEL, **dict(model)}, training={**present, **training})


def run(preprocessed, directory, report=lambda _: None, model=(), **training):
    directory.mkdir(exist_ok=True)
    return train(
        preprocessed,
        spec=tiny_spec(),
        config=config_of(model, **training),
        output_dir=directory,
        report=report,
    )


def test_trains_better_than_chance_and_writes_a_model(preprocessed, tmp_path):
    result = run(preprocessed, tmp_path)
    # Chance over the corpus is about 0.3, inside the right cluster above 0.8.
    assert result.validation["recall@10"] > 0.7
    assert result.num_examples == 420
    assert not (tmp_path / "checkpoints").exists()
    towers = load_towers(tmp_path)
    assert towers.embedding_dim == 8
    for line in (tmp_path / "training_log.jsonl").read_text().splitlines():
        assert np.isfinite(json.loads(line)["loss"])


def test_a_refit_trains_again_with_the_validation_window(preprocessed, tmp_path):
    phases = []
    result = run(preprocessed, tmp_path, lambda r: phases.append(r.phase), epochs=2, refit=True)
    assert result.refitted
    assert result.num_examples == 420 + 60
    assert result.steps == round(result.best_step * 480 / 420)
    assert phases.count("refit") == result.steps
    assert phases == sorted(phases)
    # What it is worth is measured before the second training learns these queries.
    first_fit = FirstFitRecall.read(tmp_path)
    assert first_fit.num_queries == 60
    assert first_fit.at(10) == (10, pytest.approx(result.validation["recall@10"], abs=1e-6))
    assert len(first_fit.recall) == 40
    assert first_fit.recall[-1] == 1.0


def test_a_refit_keeps_the_weights_of_the_wide_part_and_fits_its_tables_again(
    preprocessed, tmp_path
):
    wide = {"rank": 12, "l2": 4.0, "half_lives": [None], "popularity_days": [None]}
    # Towers that have hardly learned anything leave something to the wide part.
    slow = {**tiny_run_config().training.optimizer.model_dump(), "learning_rate": 1e-5}
    config = config_of(epochs=1, refit=True, optimizer=slow)
    config = config.model_copy(
        update={"model": PlainTowerConfig.model_validate({**MODEL, "wide": wide})}
    )
    result = train(preprocessed, spec=tiny_spec(), config=config, output_dir=tmp_path)
    assert result.wide["recall@10_out_of_fold"] > result.wide["recall@10_before"]
    assert any(message.startswith("model.wide: recall@10") for message in result.messages)
    first, last = (read_weights(tmp_path / name) for name in ("first_fit.npz", "weights.npz"))
    np.testing.assert_array_equal(first["wide.weights"], last["wide.weights"])
    for name in ("wide.history", "wide.candidates"):
        assert first[name].shape == last[name].shape
        assert not np.allclose(first[name], last[name])
    assert load_towers(tmp_path).embedding_dim == 8 + 12 + 1
    # What the first fit is worth is that of the whole, on weights that were fitted on others.
    at_10 = FirstFitRecall.read(tmp_path).at(10)[1]
    assert at_10 == pytest.approx(result.wide["recall@10_out_of_fold"], abs=1e-6)


def test_without_a_refit_the_towers_are_measured_themselves(preprocessed, tmp_path):
    assert not run(preprocessed, tmp_path, epochs=1).refitted
    assert FirstFitRecall.read(tmp_path) is None


def test_a_small_set_lowers_the_batch_size_with_a_message(preprocessed, tmp_path):
    messages = []
    result = run(
        preprocessed,
        tmp_path,
        lambda r: messages.append(r.message),
        epochs=1,
        batch_size=512,
        time_decay_half_life_days=20.0,
    )
    assert result.batch_size == 210
    assert result.messages == (
        "training.batch_size 512 is lowered to 210: there are only 420 training examples",
    )
    assert messages[0] == result.messages[0]


class Killed(Exception):
    pass


CORPUS_START = {"token_table": "svd", "query_map": "ridge"}
PSEUDO = {"pseudo_questions": {"per_candidate": 4, "words": (2, 4), "epochs": 2}}


def test_the_warm_up_is_logged_and_said(preprocessed, tmp_path):
    phases = []
    result = run(
        preprocessed, tmp_path, lambda r: phases.append(r.phase), CORPUS_START, epochs=2, **PSEUDO
    )
    assert result.messages[0].startswith("warm-up on 160 pseudo-questions, 5 steps")
    assert result.messages[1].startswith("model.query_map: ")
    assert phases.count("warm_up") == 5
    log = [json.loads(line) for line in (tmp_path / "training_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if line["phase"] == "warm_up"] == [1, 2, 3, 4, 5]
    assert log[5]["phase"] == "fit"
    assert load_towers(tmp_path).query.map is not None


def test_towers_that_are_not_trained_rank_as_their_texts(preprocessed, tmp_path):
    """Their map learns from examples nevertheless, and in the refit from more of them."""
    first = run(preprocessed, tmp_path / "first", model=CORPUS_START, epochs=0)
    again = run(preprocessed, tmp_path / "again", model=CORPUS_START, epochs=0, refit=True)
    assert first.steps == again.steps == 0
    assert (first.num_examples, again.num_examples) == (420, 480)
    assert first.validation == again.validation
    assert FirstFitRecall.read(tmp_path / "again").num_queries == 60
    weights = [read_weights(tmp_path / name / "weights.npz") for name in ("first", "again")]
    assert not weights[0]["tables.user_id"].any()
    assert weights[0]["tables.words"].any()
    np.testing.assert_array_equal(weights[0]["tables.words"], weights[1]["tables.words"])
    np.testing.assert_array_equal(
        read_weights(tmp_path / "again" / layout.FIRST_FIT_WEIGHTS)["query.map"],
        weights[0]["query.map"],
    )


@pytest.mark.parametrize(
    ("model", "settings", "killed"),
    [
        (
            {},
            {"softmax": {
                "logq": "streaming", "num_uniform_negatives": 8, "learn_temperature": True
            }},
            ("refit", 3),
        ),
        pytest.param(
            CORPUS_START,
            {**PSEUDO, "checkpoint_every_steps": 2},
            ("warm_up", 3),
            marks=pytest.mark.slow,
        ),
        pytest.param(CORPUS_START, PSEUDO, ("refit", 3), marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_killed_run_ends_with_the_same_bits(preprocessed, tmp_path, model, settings, killed):
    settings = {"epochs": 2, "refit": True, "model": model, **settings}
    expected = run(preprocessed, tmp_path / "whole", **settings)

    def kill(phase, step):
        def report(r):
            if (r.phase, r.step) == (phase, step):
                raise Killed("now")

        return report

    with pytest.raises(Killed, match="now"):
        run(preprocessed, tmp_path / "killed", kill(*killed), **settings)
    result = run(preprocessed, tmp_path / "killed", **settings)
    assert (result.best_step, result.steps) == (expected.best_step, expected.steps)
    weights = (tmp_path / "whole" / "weights.npz", tmp_path / "killed" / "weights.npz")
    first, second = (read_weights(path) for path in weights)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    logs = []
    for directory in ("whole", "killed"):
        text = (tmp_path / directory / "training_log.jsonl").read_text()
        entries = [json.loads(line) for line in text.splitlines()]
        logs.append([{k: v for k, v in e.items() if k != "examples_per_s"} for e in entries])
    assert logs[0] == logs[1]


@pytest.mark.slow
def test_a_refit_that_knows_more_ids_warms_up_towers_of_its_own_and_resumes(preprocessed, tmp_path):
    """Weights of smaller tables fit neither its warm-up nor its resumption."""
    data = tmp_path / "data"
    shutil.copytree(preprocessed, data)
    (data / layout.FRESH_IDS).mkdir()
    (data / layout.FRESH_IDS / "item_id.txt").write_text("new\n")
    settings = {"epochs": 1, "refit": True, "model": CORPUS_START, **PSEUDO}
    run(data, tmp_path / "whole", **settings)

    def kill(report):
        if (report.phase, report.step) == ("refit", 1):
            raise Killed("now")

    with pytest.raises(Killed, match="now"):
        run(data, tmp_path / "killed", kill, **settings)
    run(data, tmp_path / "killed", **settings)
    first, second = (read_weights(tmp_path / name / layout.WEIGHTS) for name in ("whole", "killed"))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    small = read_weights(tmp_path / "whole" / layout.FIRST_FIT_WEIGHTS)["tables.item_id"]
    assert len(first["tables.item_id"]) == len(small) + 1
    for directory in ("whole", "killed"):
        text = (tmp_path / directory / "training_log.jsonl").read_text()
        phases = [json.loads(line)["phase"] for line in text.splitlines()]
        assert [phase for phase, _ in groupby(phases)] == ["warm_up", "fit", "warm_up", "refit"]


def test_divergence_stops_with_advice(preprocessed, tmp_path):
    with pytest.raises(TrainingError, match=r"diverged at step \d+.*Lower training.optimizer"):
        run(
            preprocessed,
            tmp_path,
            optimizer={"learning_rate": 1e38, "warmup_steps": 0, "clip_norm": None},
        )
