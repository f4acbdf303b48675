"""Query slots in towers and in a training step: what a candidate's vector may depend on."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import TowerContract, tensors
from tests.fixtures.tiny import tiny_run_config
from tests.unit.towers.test_inttower import TRANSFORMER
from tfrs_twotower.tasks import build
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.embedding import embed
from tfrs_twotower.training.negatives import NegativeSampling
from tfrs_twotower.training.two_tower_model import compiled_model

PLAIN = {"embedding_dim": 16, "transformer": TRANSFORMER}
SLOTS = {**PLAIN, "query_slots": {"num_slots": 4}}
BATCH = 12


class TestPlainWithSlots(TowerContract):
    model = {**SLOTS, "token_dropout": 0.2, "dropout": 0.1}


@pytest.fixture
def model_of(spec, assets, corpus):
    """Builds the model that trains towers with these settings."""

    def build_model(model=SLOTS, seed=3, **reconstruction):
        terms = {"query_reconstruction": reconstruction or None}
        config = tiny_run_config(model=model, training={"batch_size": 64, "terms": terms})
        towers = build_towers(spec, config.model, assets, seed=seed)
        tokens = towers.candidate.inputs(tensors(corpus.raw))
        retrieval = build.build_retrieval_task(config.training, config.model)
        return compiled_model(
            towers,
            retrieval,
            build.build_terms(config.training, config.model, towers, retrieval),
            NegativeSampling(tokens, len(corpus), num_uniform=5, seed=4),
            config.training,
        )

    return build_model


@pytest.fixture
def batch_of(test_queries):
    """A batch of some queries; the candidates of row i are always the same."""

    def make(model, first=0):
        raw = {name: values[first : first + BATCH] for name, values in test_queries.inputs.items()}
        rows = np.arange(BATCH, dtype=np.int32)
        return {
            "tokens": model.towers.query.inputs(tensors(raw)),
            "query_rows": tf.constant(rows),
            "candidate_rows": tf.constant(rows * 3 % 20),
            "weights": tf.ones([BATCH]),
            "step": tf.fill([BATCH], tf.constant(1, tf.int64)),
        }

    return make


def embedded(model, batch, training=False):
    return model._embed(batch, training, None)


def bypass(model):
    """Zeroes the output projection of the early interaction."""
    found = [v for v in model.trainable_variables if "interaction.attention.output" in v.name]
    assert len(found) == 2
    for variable in found:
        variable.assign(tf.zeros_like(variable))


@pytest.mark.parametrize("training", [False, True])
def test_a_vector_is_a_function_of_its_candidate_alone(model_of, batch_of, corpus, training):
    model = model_of()
    one, other = (batch_of(model, first) for first in (0, BATCH))
    assert (one["tokens"]["bio"] != other["tokens"]["bio"]).numpy().any()
    first, second = (embedded(model, batch, training) for batch in (one, other))
    assert (first.query.embedding != second.query.embedding).numpy().any()
    for name in ("embedding", "slots"):
        np.testing.assert_array_equal(
            getattr(first.candidate, name), getattr(second.candidate, name)
        )
    # What is served comes from the same function, which gets no query at all.
    served = model.towers.candidate(tensors(corpus.raw)).numpy()
    np.testing.assert_allclose(
        first.candidate.embedding, served[one["candidate_rows"].numpy()], atol=1e-6
    )


def test_the_true_query_changes_the_reconstruction_and_no_vector(model_of, batch_of):
    model = model_of()
    batch = batch_of(model)
    words = batch["tokens"]["bio"]
    swapped = {**batch, "tokens": {**batch["tokens"], "bio": tf.roll(words, 1, axis=0)}}
    before, after = (model.terms(b)[1]["query_reconstruction"] for b in (batch, swapped))
    assert abs(float(before) - float(after)) > 1e-4
    np.testing.assert_array_equal(embedded(model, batch).columns, embedded(model, swapped).columns)


@pytest.mark.parametrize(
    "without", [{"balance": 1.0, "reading": "shares"}, {"balance": 0.0, "reading": "sum"}]
)
def test_without_reconstruction_and_interaction_it_is_the_plain_model(model_of, batch_of, without):
    plain, slots = model_of(PLAIN), model_of(**without)
    bypass(slots)
    expected, _, of_plain = plain.gradients(batch_of(plain))
    actual, terms, of_slots = slots.gradients(batch_of(slots))
    assert set(terms) == {"retrieval"}
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    found = dict(zip([v.name for v in slots.learning_variables], of_slots, strict=True))
    for variable, gradient in zip(plain.learning_variables, of_plain, strict=True):
        one, other = (tf.convert_to_tensor(g) for g in (gradient, found[variable.name]))
        np.testing.assert_allclose(other, one, atol=1e-6, err_msg=variable.name)


@pytest.mark.parametrize(
    ("reading", "of_softmax", "of_words"), [("shares", 0.7, 0.3), ("sum", 1.0, 0.7)]
)
def test_both_readings_of_lambda(model_of, batch_of, reading, of_softmax, of_words):
    model = model_of(balance=0.7, reading=reading)
    total, terms = model.terms(batch_of(model))
    expected = of_softmax * terms["retrieval"] + of_words * terms["query_reconstruction"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_cached_vectors_score_as_the_joint_graph(model_of, batch_of, corpus, test_queries):
    model = model_of()
    batch = batch_of(model)
    joint = embedded(model, batch)
    cached = embed(model.towers.candidate, corpus.raw)[batch["candidate_rows"].numpy()]
    raw = {name: values[:BATCH] for name, values in test_queries.inputs.items()}
    queries = embed(model.towers.query, raw)
    np.testing.assert_allclose(
        tf.matmul(joint.query.embedding, joint.candidate.embedding, transpose_b=True),
        queries @ cached.T,
        atol=1e-5,
    )


def test_an_interaction_of_zeros_gives_the_plain_vector(model_of, corpus):
    raw = tensors(corpus.raw)
    plain, slots = (model_of(settings) for settings in (PLAIN, SLOTS))
    random = np.random.default_rng(0)
    for model in (plain, slots):  # as after some training; the norms have changed, too
        for name, variable in model.towers.named_variables().items():
            random = np.random.default_rng(len(name))
            variable.assign(variable + random.normal(0, 0.1, variable.shape))
    expected = plain.towers.candidate(raw)
    assert np.abs(slots.towers.candidate(raw) - expected).max() > 1e-2
    bypass(slots)
    np.testing.assert_allclose(slots.towers.candidate(raw), expected, atol=1e-6)


def test_each_loss_trains_what_it_depends_on(model_of, batch_of):
    model = model_of()
    batch = batch_of(model)
    variables = model.learning_variables
    reached = {}
    for name in ("retrieval", "query_reconstruction"):
        with tf.GradientTape() as tape:
            loss = model.terms(batch)[1][name]
        gradients = tape.gradient(loss, variables)
        reached[name] = {
            variable.name
            for variable, gradient in zip(variables, gradients, strict=True)
            if gradient is not None and np.any(tf.convert_to_tensor(gradient))
        }
    text = {v.name for v in variables if v.name.startswith("candidate.fields.description.")}
    interaction = {name for name in text if ".interaction." in name}
    assert text <= reached["retrieval"]
    assert text - interaction <= reached["query_reconstruction"]
    assert not interaction & reached["query_reconstruction"]
    assert not any(name.startswith("query.") for name in reached["query_reconstruction"])
    assert "tables.words:0" in reached["query_reconstruction"]


def test_training_lowers_the_reconstruction_and_repeats_under_a_seed(model_of, batch_of):
    def train():
        model = model_of({**SLOTS, "token_dropout": 0.2})
        batch = batch_of(model)
        losses = [float(model.train_step(batch)["query_reconstruction"]) for _ in range(4)]
        return losses, model.towers.named_variables()

    (losses, weights), (again, same_weights) = train(), train()
    assert losses[-1] < losses[0]
    assert losses == again
    for name, variable in weights.items():
        np.testing.assert_array_equal(variable, same_weights[name], err_msg=name)


@pytest.mark.parametrize("kind", ["dat", "colbert"])
def test_towers_of_other_kinds_hand_their_slots_on(model_of, batch_of, kind):
    model = model_of({**SLOTS, "kind": kind})
    batch = batch_of(model)
    found = embedded(model, batch).candidate
    assert found.slots.shape == (BATCH, 1, 4, 16)
    assert np.isfinite(model.terms(batch)[1]["query_reconstruction"])
    plain = embedded(model_of(), batch).candidate
    np.testing.assert_allclose(found.slots, plain.slots, atol=1e-6)


def test_queries_may_have_fewer_layers(spec, assets):
    texts = spec.model_dump(mode="json")
    (bio,) = [feature for feature in texts["query"]["features"] if feature["name"] == "bio"]
    bio["encoder"] = "transformer"
    spec = type(spec).model_validate(texts)
    layers = {**TRANSFORMER, "num_layers": 4}
    model = {**PLAIN, "transformer": layers, "query_transformer_layers": 2}
    towers = build_towers(spec, tiny_run_config(model=model).model, assets, seed=1)

    def numbers(prefix):
        found = [name for name in towers.named_variables() if name.startswith(prefix)]
        return {name.removeprefix(prefix).split(".")[0] for name in found}

    assert numbers("query.fields.bio.layer_") == {"0", "1"}
    assert numbers("candidate.fields.description.layer_") == {"0", "1", "2", "3"}
