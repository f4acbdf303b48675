import numpy as np
import pytest
import tensorflow as tf

from pipelines.transforms.histories import Stream
from tests.contracts.tower_contract import TowerContract, tensors
from tests.fixtures.tiny import tiny_run_config
from tests.reference import dat as reference
from tests.reference import plain_tower
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.layers import candidate_memory
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.losses.list_losses import mimic
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.dat import DatTower

TRANSFORMER = {"num_layers": 1, "num_heads": 2, "feed_forward_dim": 16}
DROPOUT = {"id_dropout": 0.2, "history_dropout": 0.3, "token_dropout": 0.2, "dropout": 0.1}
PLAIN = {"embedding_dim": 16, "transformer": TRANSFORMER, **DROPOUT}
DAT = {**PLAIN, "kind": "dat"}
SEGMENTED = {**DAT, "query_segment": "segment"}


class TestLearned(TowerContract):
    model = {**SEGMENTED, "augmentation_dropout": 0.2}


class TestHistoryMean(TowerContract):
    model = {**DAT, "query_augmentation": "history_mean"}


@pytest.fixture
def build(spec, assets):
    return lambda **model: build_towers(
        spec, tiny_run_config(model=DAT | model).model, assets, seed=5
    )


@pytest.fixture
def candidates(build, corpus):
    return build().candidate.inputs(tensors(corpus.raw))


def weights_of(towers):
    return {name: variable.numpy() for name, variable in towers.named_variables().items()}


def served(towers, raw, vectors):
    """Returns the oracle's query embeddings for augmented vectors."""
    weights = weights_of(towers)
    fields = towers.query.encode_fields(towers.query.inputs(raw)).numpy()
    extra = np.asarray(vectors) @ weights["query.augmentation.kernel"]
    return plain_tower.embed(
        np.concatenate([fields, extra[:, None]], axis=1),
        weights["query.bias"],
        [(weights["query.residual_0.kernel"], weights["query.residual_0.bias"])],
    )


def a_query(raw, **changes):
    """The first query with some values changed."""
    changed = {name: value[:1] for name, value in tensors(raw).items()}
    for name, value in changes.items():
        if isinstance(value, list):
            value = value + [""] * (changed[name].shape[1] - len(value))
        changed[name] = tf.constant([value])
    return changed


def test_the_mimic_loss_does_not_move_the_other_tower(build, test_queries, candidates):
    towers = build()
    raw = {name: value[:40] for name, value in tensors(test_queries.inputs).items()}
    tokens = towers.query.inputs(raw)
    with tf.GradientTape() as tape:
        query = towers.query.encode(tokens, training=True)
        candidate = towers.candidate.encode(candidates, training=True)
        loss = tf.reduce_mean(mimic(query.augmented, candidate.embedding[: len(query.augmented)]))
    gradients = tape.gradient(loss, towers.named_variables())
    assert [n for n, g in gradients.items() if g is not None] == ["query.augmentation.rows"]


def test_an_unseen_id_is_served_with_the_unknown_row(build, test_queries):
    towers = build()
    towers.named_variables()["query.augmentation.rows"][1].assign(tf.linspace(-1.0, 1.0, 16))
    raw = a_query(test_queries.inputs, user_id="nobody", history=[])
    unknown = weights_of(towers)["query.augmentation.rows"][1]
    np.testing.assert_allclose(towers.query(raw), served(towers, raw, [unknown]), rtol=1e-4)
    missing = raw | {"user_id": tf.constant([""])}
    np.testing.assert_allclose(towers.query(missing), served(towers, missing, [unknown]), rtol=1e-4)


@pytest.mark.parametrize("layers", [0, 2])
def test_zero_augmented_vectors_give_the_plain_tower(
    build, spec, assets, test_queries, candidates, layers
):
    towers = build(num_residual_layers=layers, augmentation_dropout=0.5)
    plain_model = tiny_run_config(model={**PLAIN, "num_residual_layers": layers}).model
    plain = build_towers(spec, plain_model, assets, seed=5)
    for name, variable in towers.named_variables().items():
        if name.endswith("augmentation.rows"):
            variable.assign(tf.zeros_like(variable))
    tokens = plain.query.inputs(
        {name: value[:40] for name, value in tensors(test_queries.inputs).items()}
    )
    positives = {name: value[: len(tokens["age"])] for name, value in candidates.items()}
    losses, gradients = [], []
    for pair in (towers, plain):
        with tf.GradientTape() as tape:
            query = pair.query.embed_tokens(tokens, training=True)
            candidate = pair.candidate.embed_tokens(positives, training=True)
            loss = in_batch_softmax(tf.matmul(query, candidate, transpose_b=True), temperature=0.1)
        losses.append(loss.numpy())
        gradients.append(tape.gradient(loss, pair.named_variables()))
    np.testing.assert_array_equal(losses[0], losses[1])
    for name, gradient in gradients[1].items():
        np.testing.assert_array_equal(
            tf.convert_to_tensor(gradients[0][name]), tf.convert_to_tensor(gradient), err_msg=name
        )


def test_each_id_gets_the_first_available_vector(build, test_queries, candidates):
    """The order is learned row, history mean, segment mean, unknown row; the oracle checks it."""
    towers = build(**SEGMENTED)
    raw = tensors(test_queries.inputs)
    tokens = towers.query.inputs(raw)
    towers.adapt(tokens, candidates)
    towers.refresh_derived_state(candidates)
    users, segments = tokens["user_id"].numpy(), tokens["segment"].numpy()
    weights = weights_of(towers)
    table, memory = weights["query.augmentation.rows"], weights["query.augmentation.memory"]
    means = reference.segment_means(
        table, users, segments, len(weights["query.augmentation.segments"])
    )
    known = raw["user_id"].numpy()[users > 1][0].decode()
    item, segment = "item_03", "segment_0"
    cases = [
        {"user_id": known, "history": [item], "segment": segment},
        {"user_id": "new", "history": [item, "item_21", "unheard"], "segment": segment},
        {"user_id": "", "history": [item], "segment": ""},
        {"user_id": "new", "history": ["unheard"], "segment": segment},
        {"user_id": "new", "history": [], "segment": segment},
        {"user_id": "new", "history": [], "segment": "elsewhere"},
    ]
    chosen = []
    for case in cases:
        query = a_query(test_queries.inputs, **case)
        one = {name: value.numpy()[0] for name, value in towers.query.inputs(query).items()}
        vector = reference.served_vector(
            one["user_id"],
            table,
            reference.history_mean(memory, one["history"]),
            means[one["segment"]],
        )
        np.testing.assert_allclose(towers.query(query), served(towers, query, [vector]), rtol=1e-4)
        chosen.append(tuple(np.round(vector, 5)))
    # Cases 3 and 4 both get the mean of the segment; all others differ.
    assert chosen[3] == chosen[4]
    assert len(set(chosen)) == len(cases) - 1


def test_an_unseen_candidate_gets_the_mean_of_its_segment(build, corpus, candidates):
    # Brands are hashed categories, so every candidate has one.
    towers = build(candidate_segment="brand")
    embeddings = towers.candidate.embed_tokens(candidates)
    known = int(np.argmax(candidates["item_id"].numpy() > 1))
    new = {name: value[known : known + 1] for name, value in candidates.items()}
    new["item_id"] = tf.constant([1])
    before = towers.candidate.embed_tokens(new)
    towers.adapt({}, candidates)
    towers.refresh_derived_state(candidates)
    refreshed = towers.candidate.embed_tokens(candidates)
    np.testing.assert_array_equal(refreshed[known], embeddings[known])
    assert not np.allclose(towers.candidate.embed_tokens(new), before)


@pytest.mark.parametrize("mode", ["learned", "history_mean"])
def test_the_memory_holds_the_candidate_embeddings(
    build, test_queries, candidates, monkeypatch, mode
):
    towers = build(query_augmentation=mode)
    monkeypatch.setattr(candidate_memory, "_CHUNK", 7)
    towers.refresh_derived_state(candidates)
    memory = weights_of(towers)["query.augmentation.memory"]
    ids = candidates["item_id"].numpy()
    embeddings = towers.candidate.embed_tokens(candidates).numpy()
    np.testing.assert_allclose(memory[ids[ids > 1]], embeddings[ids > 1], atol=1e-6)
    assert not memory[:2].any()
    assert len(ids) > 7
    assert (ids > 1).sum() < len(ids)


def test_a_step_writes_its_embeddings_to_the_memory(build, candidates):
    towers = build(query_augmentation="history_mean")
    some = {name: value[:5] for name, value in candidates.items()}
    embeddings = towers.candidate.embed_tokens(some, training=True)
    towers.update_memory(some, embeddings)
    memory = weights_of(towers)["query.augmentation.memory"]
    np.testing.assert_allclose(memory[some["item_id"].numpy()], embeddings, atol=1e-6)
    assert np.count_nonzero(memory.any(axis=1)) == 5


@pytest.mark.parametrize("window", ["before", "leave_one_out"])
def test_a_history_mean_never_contains_the_target(build, test_queries, candidates, window):
    towers = build(query_augmentation="history_mean")
    towers.refresh_derived_state(candidates)
    memory = towers.named_variables()["query.augmentation.memory"]
    items = [f"item_{second:02d}" for second in range(6)]
    codes, starts = np.arange(6), np.zeros(6, np.int64)
    ends, own = (codes, None) if window == "before" else (np.full(6, 6), codes)
    stream = Stream(starts, codes, 1)
    offsets, found = stream.histories(starts, ends, 6, own)
    for item, history in zip(items, np.split(found, offsets[1:-1]), strict=True):
        history = [items[code] for code in history]
        tokens = towers.query.inputs(a_query(test_queries.inputs, history=history))
        target = towers.query.inputs(a_query(test_queries.inputs, history=[item]))
        row = int(target["history"][0, 0])
        embedding, kept = towers.query.embed_tokens(tokens), memory[row]
        memory.scatter_update(tf.IndexedSlices(-5.0 * kept[tf.newaxis], [row]))
        np.testing.assert_array_equal(towers.query.embed_tokens(tokens), embedding)
        assert not np.allclose(towers.query.embed_tokens(target), towers.query.embed_tokens(tokens))
        memory.scatter_update(tf.IndexedSlices(kept[tf.newaxis], [row]))


def test_dropout_trains_the_unknown_row(build, test_queries):
    towers = build(augmentation_dropout=0.5)
    rows = towers.named_variables()["query.augmentation.rows"]
    with tf.GradientTape() as tape:
        output = towers.query.encode(
            towers.query.inputs(tensors(test_queries.inputs)), training=True
        )
        loss = tf.reduce_sum(output.embedding[:, 0])
    assert 1 in tape.gradient(loss, rows).indices.numpy()
    # The trained vectors are those that entered the tower: the unknown row for a dropped id.
    unknown = np.all(output.augmented.numpy() == rows[1].numpy(), axis=1)
    assert 0.2 < unknown.mean() < 0.8


def test_random_vectors_are_new_each_time_and_can_be_exported(
    build, test_queries, candidates, tmp_path
):
    towers = build(query_augmentation="random", candidate_augmentation="random")
    tokens = towers.query.inputs(tensors(test_queries.inputs))
    first, second = (towers.query.encode(tokens, training=True).augmented for _ in range(2))
    assert not np.allclose(first, second)
    outside = towers.query.encode(tokens).augmented
    np.testing.assert_array_equal(outside, towers.query.encode(tokens).augmented)
    np.testing.assert_allclose(np.mean(np.square(outside)), 1 / 16, rtol=0.2)
    others = towers.candidate.encode(candidates).augmented
    assert not np.allclose(others[0], outside[0])
    module = tf.Module()
    module.tower = towers.query
    module.embed = tf.function(
        lambda inputs: towers.query(inputs), input_signature=[towers.query.inputs.signature]
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    raw = tensors(test_queries.inputs)
    np.testing.assert_allclose(loaded.embed(raw), towers.query(raw), atol=2e-6)


def test_which_sides_train_augmented_vectors(build):
    learned, mean = build(), build(query_augmentation="history_mean")
    assert learned.query.has_augmented
    assert learned.candidate.has_augmented
    assert not mean.query.has_augmented
    assert mean.candidate.has_augmented
    one = build(candidate_augmentation="none")
    assert not isinstance(one.candidate, DatTower)
    assert not one.candidate.has_augmented
    assert isinstance(build(query_augmentation="random").query, DatTower)


def test_the_memory_is_saved_but_not_trained(build):
    towers = build(**SEGMENTED)
    state = {n for n, v in towers.named_variables().items() if not v.trainable}
    assert state == {"query.augmentation.memory", "query.augmentation.segments"}
    trained = {v.name.removesuffix(":0") for v in towers.trainable_variables}
    assert trained == towers.named_variables().keys() - state


def test_a_config_that_does_not_fit_is_refused(build):
    with pytest.raises(ConfigError, match=r"query_segment is 'bio', which is not a categorical"):
        build(query_segment="bio")
    with pytest.raises(ConfigError, match="neither side is augmented"):
        build(query_augmentation="none", candidate_augmentation="none")
