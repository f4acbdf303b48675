"""The laws that every kind of tower obeys. The test of a kind inherits `TowerContract`.

The inheriting class sets `model`, the model section of the run config; its conftest provides
`spec`, `assets`, `corpus` and `test_queries` (see `tests.fixtures.planted`).
"""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.data.raw_inputs import example_parser, raw_signature
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.storage import load_towers, save_towers
from tfrs_twotower.towers.tower import Tower, TowerOutput, Towers


def tensors(raw: dict[str, Any]) -> dict[str, tf.Tensor]:
    return {name: tf.convert_to_tensor(value) for name, value in raw.items()}


class TowerContract:
    """Laws of a pair of towers on the tiny planted data."""

    model: dict[str, Any]

    def objective(self, towers: Towers, query: TowerOutput, candidate: TowerOutput) -> tf.Tensor:
        """A loss that trains every weight; kinds with more outputs than embeddings extend it."""
        mixed = tf.random.stateless_normal([2, 64, towers.embedding_dim], [3, 4])
        loss = tf.reduce_sum(query.embedding * mixed[0, : len(query.embedding)])
        return loss + tf.reduce_sum(candidate.embedding * mixed[1, : len(candidate.embedding)])

    @pytest.fixture
    def model_config(self):
        return tiny_run_config(model=self.model).model

    @pytest.fixture
    def towers(self, spec, assets, model_config) -> Towers:
        return build_towers(spec, model_config, assets, seed=11)

    @pytest.fixture(params=["query", "candidate"])
    def side(self, request, towers, corpus, test_queries) -> tuple[Tower, dict[str, tf.Tensor]]:
        raw = {"query": test_queries.inputs, "candidate": corpus.raw}[request.param]
        return getattr(towers, request.param), tensors(raw)

    def test_embeddings_are_unit_vectors(self, side):
        tower, raw = side
        embeddings = tower(raw)
        assert embeddings.dtype == tf.float32
        assert embeddings.shape == [len(next(iter(raw.values()))), tower.embedding_dim]
        np.testing.assert_allclose(tf.norm(embeddings, axis=1), 1.0, rtol=1e-5)

    def test_embedding_tokens_equals_embedding_raw_features(self, side):
        tower, raw = side
        np.testing.assert_array_equal(tower.embed_tokens(tower.inputs(raw)), tower(raw))

    def test_field_vectors(self, side):
        tower, raw = side
        fields = tower.encode_fields(tower.inputs(raw))
        assert fields.shape[1:] == [tower.num_fields, tower.embedding_dim]
        assert tower.num_fields == len(tower.inputs.features)

    def test_rows_do_not_depend_on_each_other(self, side):
        tower, raw = side
        whole = tower(raw).numpy()
        order = np.random.default_rng(0).permutation(len(whole))
        shuffled = tower({name: tf.gather(value, order) for name, value in raw.items()})
        np.testing.assert_allclose(shuffled, whole[order], atol=1e-6)
        alone = tower({name: value[:1] for name, value in raw.items()})
        np.testing.assert_allclose(alone, whole[:1], atol=1e-6)

    def test_a_row_of_missing_values_has_an_embedding(self, side):
        tower, _ = side
        parse = example_parser(raw_signature(tower.inputs.features))
        embedding = tower(parse(tf.constant([tf.train.Example().SerializeToString()])))
        np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, rtol=1e-5)

    def test_an_empty_batch(self, side):
        tower, raw = side
        empty = tower({name: value[:0] for name, value in raw.items()})
        assert empty.shape == [0, tower.embedding_dim]

    def test_same_embedding_in_four_places(self, side, tmp_path):
        tower, raw = side
        eager = tower(raw)
        traced = tf.function(tower)(raw)
        streamed = next(iter(tf.data.Dataset.from_tensors(raw).map(tower)))
        module = tf.Module()
        module.tower = tower
        module.embed = tf.function(
            lambda inputs: tower(inputs), input_signature=[tower.inputs.signature]
        )
        tf.saved_model.save(module, str(tmp_path))
        loaded = tf.saved_model.load(str(tmp_path))
        for other in (traced, streamed, loaded.embed(raw)):
            np.testing.assert_allclose(other, eager, atol=2e-6)

    def test_nothing_is_dropped_outside_training(self, side):
        tower, raw = side
        np.testing.assert_array_equal(tower(raw), tower(raw))

    def test_every_weight_is_trained(self, towers, corpus, test_queries):
        parse = example_parser(raw_signature(towers.query.inputs.features))
        nothing = parse(tf.constant([tf.train.Example().SerializeToString()]))
        queries = {
            name: tf.concat([value, nothing[name]], axis=0)
            for name, value in tensors(test_queries.inputs).items()
        }
        candidates = tensors(corpus.raw)
        towers.refresh_derived_state(towers.candidate.inputs(candidates))
        # A row without values trains the weights of missing values. Several batches, because
        # dropout may remove in one batch what another keeps.
        trained = {n: v for n, v in towers.named_variables().items() if v.trainable}
        reached = dict.fromkeys(trained, False)
        for _ in range(4):
            with tf.GradientTape() as tape:
                query = towers.query.encode(towers.query.inputs(queries), training=True)
                candidate = towers.candidate.encode(
                    towers.candidate.inputs(candidates), training=True
                )
                loss = self.objective(towers, query, candidate)
            gradients = tape.gradient(loss, trained)
            for name, gradient in gradients.items():
                assert gradient is not None, f"{name} has no gradient"
                dense = tf.convert_to_tensor(gradient).numpy()
                assert np.isfinite(dense).all(), name
                reached[name] |= bool(dense.any())
        assert all(reached.values()), [
            name for name, has_gradient in reached.items() if not has_gradient
        ]

    def test_table_gradients_are_sparse(self, towers, corpus, test_queries):
        tables = {n: v for n, v in towers.named_variables().items() if n.startswith("tables.")}
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(towers.query(tensors(test_queries.inputs), training=True))
            loss += tf.reduce_sum(towers.candidate(tensors(corpus.raw), training=True))
        for name, gradient in tape.gradient(loss, tables).items():
            assert isinstance(gradient, tf.IndexedSlices), name

    def test_seeded(self, spec, assets, model_config, towers, test_queries):
        again = build_towers(spec, model_config, assets, seed=11)
        other = build_towers(spec, model_config, assets, seed=12)
        raw = tensors(test_queries.inputs)
        np.testing.assert_array_equal(again.query(raw), towers.query(raw))
        assert not np.allclose(other.query(raw), towers.query(raw))
        first = build_towers(spec, model_config, assets, seed=11)
        np.testing.assert_array_equal(
            again.query(raw, training=True), first.query(raw, training=True)
        )

    def test_saved_towers_are_bit_equal(
        self, spec, assets, model_config, towers, corpus, test_queries, tmp_path
    ):
        towers.refresh_derived_state(towers.candidate.inputs(tensors(corpus.raw)))
        save_towers(towers, spec, model_config, assets, tmp_path)
        loaded = load_towers(tmp_path)
        for name, variable in towers.named_variables().items():
            np.testing.assert_array_equal(loaded.named_variables()[name], variable)
        np.testing.assert_array_equal(
            loaded.query(tensors(test_queries.inputs)), towers.query(tensors(test_queries.inputs))
        )
        np.testing.assert_array_equal(
            loaded.candidate(tensors(corpus.raw)), towers.candidate(tensors(corpus.raw))
        )
