import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.artifacts import sha256_file
from tfrs_twotower.artifacts.layout import FIRST_FIT_WEIGHTS, WEIGHTS
from tfrs_twotower.config import PlainTowerConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.specs import HistoryFeature, IdFeature, declare_features
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.storage import (
    copy_towers,
    load_spec_of,
    load_towers,
    read_weights,
    save_towers,
    write_weights,
)


@pytest.fixture
def saved(spec, assets, tmp_path):
    config = tiny_run_config().model
    save_towers(build_towers(spec, config, assets, seed=1), spec, config, assets, tmp_path)
    return tmp_path


def test_same_weights_give_the_same_bytes(saved, spec, assets, tmp_path):
    config = tiny_run_config().model
    other = tmp_path / "other"
    other.mkdir()
    save_towers(build_towers(spec, config, assets, seed=1), spec, config, assets, other)
    for name in ("weights.npz", "architecture.json", "statistics.json", "vocabularies/words.txt"):
        assert sha256_file(other / name) == sha256_file(saved / name)


def test_spec_and_config_come_back(saved, spec):
    assert load_spec_of(saved) == (spec, tiny_run_config().model)


def test_weights_of_a_first_fit_are_those_of_the_ids_that_it_knew(spec, assets, tmp_path):
    config = tiny_run_config().model
    known = assets.vocabulary("item_id")
    grown = replace(
        assets,
        vocabularies={**assets.vocabularies, "item_id": [*known, "new"]},
        num_fresh={"item_id": 1},
    )
    first = build_towers(spec, config, grown.of_first_fit(), seed=1)
    (tmp_path / "model").mkdir()
    save_towers(build_towers(spec, config, grown, seed=1), spec, config, grown, tmp_path / "model")
    write_weights(first.named_variables(), tmp_path / "model" / FIRST_FIT_WEIGHTS)
    copy_towers(tmp_path / "model", tmp_path / "copy")
    shutil.copy(tmp_path / "model" / FIRST_FIT_WEIGHTS, tmp_path / "copy")
    for directory in (tmp_path / "model", tmp_path / "copy"):
        rows = [
            load_towers(directory, weights).named_variables()["tables.item_id"].shape[0]
            for weights in (FIRST_FIT_WEIGHTS, WEIGHTS)
        ]
        assert rows == [2 + len(known), 3 + len(known)]


def change(saved, edit):
    weights = read_weights(saved / "weights.npz")
    edit(weights)
    write_weights(weights, saved / "weights.npz")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: w.pop("tables.item_id"), r"'tables\.item_id' is missing"),
        (lambda w: w.update(extra=np.zeros(2, np.float32)), "'extra' belongs to no part"),
        (
            lambda w: w.update({"query.bias": np.zeros(3, np.float32)}),
            r"'query\.bias' is float32 of shape \(3,\), expected float32 of shape \(16,\)",
        ),
        (
            lambda w: w.update({"query.bias": np.zeros(16, np.float64)}),
            r"'query\.bias' is float64",
        ),
    ],
)
def test_weights_that_do_not_fit(saved, edit, message):
    change(saved, edit)
    with pytest.raises(CorruptArtifact, match=message):
        load_towers(saved)


def test_damaged_files(saved):
    (saved / "weights.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(CorruptArtifact, match=r"weights\.npz: cannot be read"):
        load_towers(saved)
    (saved / "weights.npz").unlink()
    with pytest.raises(MissingArtifact, match=r"weights\.npz: is missing"):
        load_towers(saved)
    (saved / "architecture.json").write_text("{}")
    with pytest.raises(CorruptArtifact, match=r"architecture\.json: cannot be read"):
        load_towers(saved)
    (saved / "architecture.json").unlink()
    with pytest.raises(MissingArtifact, match=r"architecture\.json: is missing"):
        load_towers(saved)


def test_pickled_objects_are_refused(saved):
    np.savez(saved / "weights.npz", evil=np.array([{}], dtype=object))
    with pytest.raises(CorruptArtifact, match="cannot be read"):
        load_towers(saved)


def test_towers_of_declared_features_come_back(tmp_path):
    declared = declare_features(
        [IdFeature(name="user_id"), HistoryFeature(name="watched", max_length=3)],
        [IdFeature(name="movie_id")],
    )
    assets = Assets({"user_id": ["u1"], "movie_id": ["m1", "m2"]})
    config = PlainTowerConfig(embedding_dim=4)
    towers = build_towers(declared, config, assets, seed=3)
    save_towers(towers, declared, config, assets, tmp_path)
    raw = {"user_id": tf.constant(["u1"]), "watched": tf.constant([["m2", "m1", ""]])}
    np.testing.assert_array_equal(load_towers(tmp_path).query(raw), towers.query(raw))
