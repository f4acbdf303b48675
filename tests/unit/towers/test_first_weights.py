import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny import tiny_run_config
from tests.fixtures.tiny_checkpoint import EPSILON, HEADS, HIDDEN, bert_tensors, write_checkpoint
from tests.reference import bert as reference
from tfrs_twotower.config import PlainTowerConfig, TrainingConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.specs import TowerFeatures
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.first_weights import (
    inverse_document_frequency,
    set_first_weights,
    start_token_weights_at_idf,
    stem_shares,
)
from tfrs_twotower.towers.storage import load_towers, save_towers

PIECES = ["[PAD]", "[UNK]", "wave", "waves", "beam", "guide", "noise", "##s", "tube", "the"]
TEXTS = ["wave guide", "waves guides", "noise beam", "beam noise tube", "", "the tube wave"]
BAG = {"kind": "text", "vocabulary": "words", "max_tokens": 6}
UNTRAINED, TRAINED = TrainingConfig(epochs=0), TrainingConfig()


def declared(candidate=(), **query):
    question = {"name": "question", **BAG, **query}
    passage = {"name": "passage", **BAG}
    return TowerFeatures.model_validate(
        {"query": {"features": [question]}, "candidate": {"features": [passage, *candidate]}}
    )


def started(spec=None, texts=TEXTS, fitting=UNTRAINED, raw=(), seed=3, **model):
    """New towers with their first weights, the tokens of the corpus, and the messages."""
    config = PlainTowerConfig.model_validate(
        {"embedding_dim": 3, "num_residual_layers": 0, "token_table": "svd", **model}
    )
    vocabularies = {"words": PIECES, "other": PIECES, "kinds": ["a", "b"]}
    towers = build_towers(
        spec or declared(), config, Assets(vocabularies, {"numeric": {}}), seed=seed
    )
    corpus = towers.candidate.inputs({"passage": tf.constant(texts), **dict(raw)})
    messages = set_first_weights(towers, config, fitting, corpus, {}, seed=1)
    return towers, corpus, messages


def unit(rows):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0.0, norms, 1.0)


def projections(texts=TEXTS, dim=3):
    """TF-IDF over stems by hand, each row of length 1, times its first right singular vectors."""
    stems = {"wave": 0, "waves": 0, "beam": 1, "guide": 2, "noise": 3, "##s": 4, "tube": 5,
             "the": 6}  # fmt: skip
    split = {"guides": ["guide", "##s"]}
    counts = np.zeros((len(texts), 7))
    for row, text in enumerate(texts):
        for word in text.split():
            for piece in split.get(word, [word]):
                counts[row, stems[piece]] += 1
    n = (counts > 0).sum(axis=0)
    rows = unit(counts * np.log(1 + (len(texts) - n + 0.5) / (n + 0.5)))
    return rows @ np.linalg.svd(rows, full_matrices=False)[2][:dim].T


def test_inverse_document_frequency_by_hand():
    title = np.array([[2, 0], [2, 2], [3, 0]], np.int32)
    body = np.array([[3, 2], [0, 0], [0, 0]], np.int32)
    weights = inverse_document_frequency([title, body], 5)
    np.testing.assert_allclose(weights[2], np.log(1 + (3 - 2 + 0.5) / (2 + 0.5)), rtol=1e-6)
    np.testing.assert_allclose(weights[3], np.log(1 + (3 - 2 + 0.5) / (2 + 0.5)), rtol=1e-6)
    np.testing.assert_allclose(weights[4], np.log(1 + (3 - 0 + 0.5) / (0 + 0.5)), rtol=1e-6)


def test_common_tokens_keep_a_positive_weight():
    everywhere = np.full((100_000, 1), 1, np.int32)
    assert inverse_document_frequency([everywhere], 2)[1] >= 1e-3


def test_bags_of_both_towers_start_at_these_weights(spec, assets, corpus):
    towers = build_towers(spec, tiny_run_config().model, assets, seed=1)
    tokens = {name: value.numpy() for name, value in towers.candidate.inputs(corpus.raw).items()}
    start_token_weights_at_idf(towers, tokens)
    weights = towers.named_variables()
    bio, title = (
        weights["query.fields.bio.log_weight"],
        weights["candidate.fields.title.log_weight"],
    )
    np.testing.assert_array_equal(bio, title)
    expected = inverse_document_frequency([tokens["title"], tokens["description"]], bio.shape[0])
    np.testing.assert_allclose(bio, np.log(expected), rtol=1e-6)


def test_shares_by_hand():
    tokens = np.array([[2, 3, 4, 0], [1, 2, 0, 0], [0, 0, 0, 0]], np.int32)
    weights = np.array([9, 2, 1, 1, 3], np.float32)
    shares = stem_shares(tokens, weights, np.array([0, 1, 2, 2, 3]))
    expected = [[0, 0, 2 / 5, 3 / 5, 0], [0, 0, 1 / 3, 0, 0], [0, 0, 0, 0, 0]]
    np.testing.assert_allclose(shares.toarray(), expected, rtol=1e-6)


def test_untrained_towers_compare_texts_as_their_projected_tf_idf_does():
    towers, _, _ = started()
    expected = unit(projections())
    candidates = towers.candidate({"passage": tf.constant(TEXTS)}).numpy()
    questions = towers.query({"question": tf.constant(TEXTS)}).numpy()
    full = [row for row, text in enumerate(TEXTS) if text]
    for first, second in ((candidates, candidates), (questions, candidates)):
        cosines, own = first[full] @ second[full].T, expected[full] @ expected[full].T
        np.testing.assert_allclose(cosines, own, atol=3e-4)  # the bias is not zero
    # Words of one stem are one word; an empty text still has a direction.
    one, two = towers.query({"question": tf.constant(["wave", "waves"])}).numpy()
    np.testing.assert_allclose(one, two, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(candidates, axis=1), 1.0, rtol=1e-5)


def test_a_bag_is_a_multiple_of_its_projection_and_as_long_as_the_row_of_a_side_feature():
    towers, corpus, _ = started()
    bags = towers.candidate.encode_fields(corpus)[:, 0].numpy()
    full = [row for row, text in enumerate(TEXTS) if text]
    np.testing.assert_allclose(
        unit(bags[full]) @ unit(bags[full]).T,
        unit(projections()[full]) @ unit(projections()[full]).T,
        atol=1e-5,
    )
    assert not bags[TEXTS.index("")].any()
    assert np.square(bags[full]).sum(axis=1).mean() == pytest.approx(0.01**2 * 3, rel=1e-4)


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_layers_that_will_be_trained_start_near_the_identity(layers, activation):
    model = {"num_residual_layers": layers, "activation": activation}
    untrained, _, _ = started(**model)
    towers, _, _ = started(fitting=TRAINED, **model)
    texts = {"passage": tf.constant([text for text in TEXTS if text])}
    cosines = tf.reduce_sum(untrained.candidate(texts) * towers.candidate(texts), axis=1)
    np.testing.assert_array_less(1.0 - 1e-3, cosines)
    exact, _, _ = started()
    np.testing.assert_allclose(untrained.candidate(texts), exact.candidate(texts), atol=1e-4)
    for name, variable in towers.named_variables().items():
        assert "kernel" not in name or variable.numpy().any(), name


def test_two_texts_are_decomposed_together():
    """The bags of two vocabularies must not share directions: a title is no body."""
    other = {"name": "title", **BAG, "vocabulary": "other"}
    towers, _, _ = started(
        declared([other]), raw={"title": tf.constant(TEXTS[::-1])}, embedding_dim=9
    )
    field = towers.candidate.encode_fields(
        towers.candidate.inputs(
            {"passage": tf.constant(["noise"]), "title": tf.constant(["noise"])}
        )
    ).numpy()[0]
    assert abs(unit(field)[0] @ unit(field)[1]) < 0.9
    names = towers.named_variables()
    assert names["tables.other"].numpy().any()
    assert names["tables.words"].numpy().any()


def test_other_fields_are_silent_without_training_and_random_with_it():
    kind = {"name": "kind", "kind": "categorical", "vocabulary": "kinds"}
    kinds = {"kind": tf.constant(["a", "b"] * 3)}
    towers, _, _ = started(declared([kind]), raw=kinds)
    same = {"passage": tf.constant(["noise beam"] * 2), "kind": tf.constant(["a", "b"])}
    first, second = towers.candidate(same).numpy()
    np.testing.assert_array_equal(first, second)
    towers, _, _ = started(declared([kind]), raw=kinds, fitting=TRAINED)
    first, second = towers.candidate(same).numpy()
    assert np.abs(first - second).max() > 1e-3


def test_a_query_with_words_of_its_own_keeps_a_random_table():
    towers, _, _ = started(declared(vocabulary="other"), fitting=TRAINED)
    assert towers.named_variables()["tables.other"].numpy().std() > 0.01


def test_a_corpus_smaller_than_the_dimension_says_so():
    towers, _, messages = started(embedding_dim=16)
    assert messages == [
        "model.token_table: the texts of 6 candidates have 5 directions, fewer than "
        "model.embedding_dim 16; the other dimensions start at zero"
    ]
    vectors = towers.candidate({"passage": tf.constant(TEXTS[:4])}).numpy()
    expected = unit(projections(dim=6)[:4])
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=3e-4)


def test_a_corpus_without_words_is_refused():
    with pytest.raises(TrainingError, match=r"no candidate has a word .* Set model.token_table"):
        started(texts=["", " "])


def test_the_start_repeats_under_the_seed():
    first, second = started()[0].named_variables(), started()[0].named_variables()
    for name, variable in first.items():
        np.testing.assert_array_equal(variable, second[name], err_msg=name)


def test_a_query_map_is_stored_with_the_towers(tmp_path):
    towers, _, _ = started(query_map="ridge")
    towers.query.map.assign([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    plain, _, _ = started()
    question = {"question": tf.constant(["noise beam", "wave"])}
    moved = plain.query(question).numpy()[:, [1, 0, 2]] * [1, 1, 2]
    np.testing.assert_allclose(towers.query(question), unit(moved), atol=1e-5)
    assert towers.candidate.map is None
    config = PlainTowerConfig(embedding_dim=3, num_residual_layers=0, query_map="ridge")
    save_towers(towers, declared(), config, Assets({"words": PIECES}, {"numeric": {}}), tmp_path)
    np.testing.assert_array_equal(load_towers(tmp_path).query(question), towers.query(question))


def test_a_pretrained_text_that_will_be_trained_starts_as_its_encoder(tmp_path):
    write_checkpoint(tmp_path / "bert")
    text = {"kind": "text", "encoder": "pretrained", "checkpoint": "bert", "max_tokens": 8}
    spec = TowerFeatures.model_validate(
        {
            "query": {"features": [{"name": "question", **text}]},
            "candidate": {"features": [{"name": "passage", **text}]},
        }
    )
    config = PlainTowerConfig(embedding_dim=HIDDEN)
    towers = build_towers(
        spec, config, Assets({}, {"numeric": {}}), seed=3, checkpoint_root=tmp_path
    )
    corpus = towers.candidate.inputs({"passage": tf.constant(["calm guitar"])})
    set_first_weights(towers, config, TRAINED, corpus, {}, seed=1)
    mean = reference.encode(bert_tensors(), [2, 4, 7, 3], HEADS, EPSILON).mean(axis=0)
    for vector in (
        towers.query({"question": tf.constant(["calm guitar"])})[0],
        towers.candidate({"passage": tf.constant(["calm guitar"])})[0],
    ):
        assert float(np.dot(vector, mean / np.linalg.norm(mean))) > 1.0 - 1e-4
