import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import tensors
from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.narrow import narrowed
from tfrs_twotower.towers.storage import load_towers, save_towers


def test_by_hand():
    np.testing.assert_allclose(
        narrowed(tf.constant([[3.0, 4.0, 12.0], [0.0, 0.0, 1.0]]), 2), [[0.6, 0.8], [0.0, 0.0]]
    )


@pytest.mark.parametrize("kind", ["plain", "dat"])
def test_loaded_towers_keep_the_first_entries(spec, assets, corpus, test_queries, tmp_path, kind):
    model = tiny_run_config(model={"kind": kind, "embedding_dim": 16}).model
    whole = build_towers(spec, model, assets, seed=11)
    save_towers(whole, spec, model, assets, tmp_path)
    narrow = load_towers(tmp_path, width=6)
    assert narrow.embedding_dim == 6
    for side, raw in (("query", test_queries.inputs), ("candidate", corpus.raw)):
        vectors = getattr(whole, side)(tensors(raw)).numpy()[:, :6]
        expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(getattr(narrow, side)(tensors(raw)), expected, atol=1e-6)
    assert load_towers(tmp_path, width=16).embedding_dim == 16
    assert not hasattr(load_towers(tmp_path, width=16), "whole")
