import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import TowerContract, tensors
from tests.fixtures.tiny import tiny_run_config
from tests.fixtures.tiny_checkpoint import HIDDEN, write_checkpoint
from tests.unit.towers.test_colbert import COLBERT
from tests.unit.towers.test_inttower import DENSE, INTTOWER, TRANSFORMER, joint_objective
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.specs import TowerFeatures
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.first_weights import (
    start_token_table_at_svd,
    start_token_weights_at_idf,
)
from tfrs_twotower.towers.storage import load_towers, save_towers

DROPOUT = {"token_dropout": 0.2, "dropout": 0.1}
PIECES = ["[PAD]", "[UNK]", "wave", "beam", "guide", "noise", "tube"]
WORDS = {"kind": "text", "vocabulary": "words", "max_tokens": 6}
BERT = {"kind": "text", "encoder": "pretrained", "checkpoint": "bert", "max_tokens": 6}
SHARINGS = ("vocabulary", "siamese", "asymmetric", "projection")


class TestSiamese(TowerContract):
    model = {
        "embedding_dim": 16,
        "transformer": TRANSFORMER,
        "text_sharing": "siamese",
        "bag_positions": True,
        **DROPOUT,
    }


class TestSharedProjection(TowerContract):
    model = {**INTTOWER, **DROPOUT, "text_sharing": "projection"}

    def objective(self, towers, query, candidate):
        return joint_objective(towers, query, candidate)


def declared(text, longer=0):
    """A question and a passage of one kind; the passage may be longer."""
    passage = {"name": "passage", **text, "max_tokens": text["max_tokens"] + longer}
    return TowerFeatures.model_validate(
        {
            "query": {"features": [{"name": "question", **text}]},
            "candidate": {"features": [passage]},
        }
    )


def built(spec, sharing, root=None, seed=3, **model):
    """The towers, and the section that they are made of."""
    settings = {"embedding_dim": 8, "transformer": TRANSFORMER, "text_sharing": sharing, **model}
    config = tiny_run_config(model=settings).model
    assets = Assets({"words": PIECES}, {"numeric": {}})
    towers = build_towers(
        spec, config, assets, seed=seed, **({"checkpoint_root": root} if root else {})
    )
    return towers, config, assets


def texts_of(kind, root):
    if kind != "pretrained":
        return {**WORDS, "encoder": kind}
    write_checkpoint(root / "bert")
    return BERT


def owners(towers):
    """The names of the weights of both towers, of the query's alone and of the candidate's."""
    query, candidate = (
        {variable.name.removesuffix(":0") for variable in tower.variables}
        for tower in (towers.query, towers.candidate)
    )
    return query & candidate, query - candidate, candidate - query


def parts(names):
    """What the weights belong to, without sides and numbers."""
    kinds = {"tables": "table", "pretrained": "encoder", "projection": "projection"}
    kinds |= {"log_weight": "encoder", "positions": "encoder", "layer_0": "encoder"}
    kinds |= {"norm": "encoder", "bias": "body", "residual_0": "body"}
    return {next(what for part, what in kinds.items() if part in name.split(".")) for name in names}


@pytest.mark.parametrize(
    ("kind", "table", "encoder", "projection"),
    [("bag", {"table"}, {"encoder"}, set()), ("transformer", {"table"}, {"encoder"}, set()),
     ("pretrained", set(), {"encoder"}, {"projection"})],
)  # fmt: skip
def test_what_is_shared(tmp_path, kind, table, encoder, projection):
    spec = declared(texts_of(kind, tmp_path))
    found = {sharing: owners(built(spec, sharing, tmp_path)[0]) for sharing in SHARINGS}
    everything = table | encoder | projection | {"body"}
    of_all = {sharing: [parts(names) for names in found[sharing]] for sharing in SHARINGS}
    given = encoder if kind == "pretrained" else table  # by the spec alone
    assert of_all["vocabulary"] == [given, everything - given, everything - given]
    assert of_all["siamese"] == [everything, set(), set()]
    assert of_all["asymmetric"] == [set(), everything, everything]
    late = projection | {"body"}
    assert of_all["projection"] == [late, everything - late, everything - late]


@pytest.mark.parametrize("kind", ["bag", "transformer", "pretrained"])
def test_siamese_towers_are_one_function(tmp_path, kind):
    """A question is encoded as the same text as a passage, whatever their greatest lengths."""
    spec = declared(texts_of(kind, tmp_path), longer=3)
    towers, _, _ = built(spec, "siamese", tmp_path, bag_positions=True)
    texts = tf.constant(["wave guide", "calm guitar", "noise beam tube", "velvet", ""])
    questions = towers.query({"question": texts})
    np.testing.assert_allclose(questions, towers.candidate({"passage": texts}), atol=1e-6)
    assert np.linalg.norm(questions[0] - questions[2]) > 1e-3
    apart, _, _ = built(spec, "vocabulary", tmp_path)
    differences = apart.query({"question": texts}) - apart.candidate({"passage": texts})
    assert np.abs(differences).max() > 1e-3


@pytest.mark.parametrize("sharing", ["siamese", "projection"])
@pytest.mark.parametrize("kind", ["bag", "transformer", "pretrained"])
def test_both_sides_train_what_they_share(tmp_path, sharing, kind):
    towers, _, _ = built(declared(texts_of(kind, tmp_path)), sharing, tmp_path)
    texts = tf.constant(["wave guide calm velvet", "noise guitar loud"])
    shared = [
        v for v in towers.trainable_variables if v.name.removesuffix(":0") in owners(towers)[0]
    ]
    mixed = tf.random.stateless_normal([2, 8], [1, 2])

    def gradients(*losses):
        with tf.GradientTape() as tape:
            made = {
                "query": tf.reduce_sum(towers.query({"question": texts}) * mixed),
                "candidate": tf.reduce_sum(towers.candidate({"passage": texts[::-1]}) * mixed),
            }
            loss = tf.add_n([made[name] for name in losses])
        return [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, shared)]

    of_query, of_candidate = gradients("query"), gradients("candidate")
    for variable, first, second, both in zip(
        shared, of_query, of_candidate, gradients("query", "candidate"), strict=True
    ):
        assert np.abs(first).max() > 0, variable.name
        assert np.abs(second).max() > 0, variable.name
        np.testing.assert_allclose(both, first + second, atol=1e-5, err_msg=variable.name)


@pytest.mark.parametrize("kind", ["bag", "transformer", "pretrained"])
def test_asymmetric_towers_learn_apart(tmp_path, kind):
    towers, _, _ = built(declared(texts_of(kind, tmp_path)), "asymmetric", tmp_path)
    passages = {"passage": tf.constant(["wave guide", "calm velvet guitar"])}
    before = towers.candidate(passages)
    for variable in towers.query.variables:
        variable.assign(variable + 1.0)
    np.testing.assert_array_equal(towers.candidate(passages), before)


def test_asymmetric_towers_start_from_one_checkpoint(tmp_path):
    towers, _, _ = built(declared(texts_of("pretrained", tmp_path)), "asymmetric", tmp_path,
                         embedding_dim=HIDDEN)  # fmt: skip
    texts = tf.constant(["calm guitar", "velvet louder ."])
    questions = towers.query.encode_fields(towers.query.inputs({"question": texts}))
    passages = towers.candidate.encode_fields(towers.candidate.inputs({"passage": texts}))
    np.testing.assert_allclose(questions, passages, atol=1e-6)


def test_asymmetric_towers_start_from_one_corpus():
    towers, _, _ = built(declared(WORDS), "asymmetric", embedding_dim=3)
    corpus = towers.candidate.inputs({"passage": tf.constant(["wave guide", "beam noise tube"])})
    start_token_table_at_svd(towers, {"passage": corpus["passage"].numpy()}, seed=1)
    weights = towers.named_variables()
    first, second = weights["tables.words"], weights["query.tables.words"]
    assert first is not second
    assert first.numpy().any()
    np.testing.assert_array_equal(first, second)


def test_a_bag_of_both_towers_gets_its_weights_once():
    siamese, _, _ = built(declared(WORDS), "siamese")
    apart, _, _ = built(declared(WORDS), "vocabulary")
    for towers in (siamese, apart):
        corpus = towers.candidate.inputs({"passage": tf.constant(["wave guide", "wave", "beam"])})
        start_token_weights_at_idf(towers, {"passage": corpus["passage"].numpy()})
    np.testing.assert_array_equal(
        siamese.candidate.fields[0].token_weights, apart.candidate.fields[0].token_weights
    )


@pytest.mark.parametrize("sharing", SHARINGS)
def test_saved_and_loaded_without_the_checkpoint(tmp_path, sharing):
    spec = declared(texts_of("pretrained", tmp_path))
    towers, config, assets = built(spec, sharing, tmp_path, embedding_dim=6)
    for number, variable in enumerate(towers.named_variables().values()):
        variable.assign(variable + 0.01 * number)  # no two copies of an encoder are equal
    (tmp_path / "model").mkdir()
    save_towers(towers, spec, config, assets, tmp_path / "model")
    (tmp_path / "bert" / "model.safetensors").unlink()
    loaded = load_towers(tmp_path / "model")
    texts = tf.constant(["calm guitar", "velvet"])
    np.testing.assert_array_equal(
        loaded.query({"question": texts}), towers.query({"question": texts})
    )
    np.testing.assert_array_equal(
        loaded.candidate({"passage": texts}), towers.candidate({"passage": texts})
    )
    assert owners(loaded) == owners(towers)


def test_late_interaction_shares_the_projection_of_tokens(spec, assets):
    for sharing, kernels in (("vocabulary", 2), ("projection", 1), ("siamese", 1)):
        config = tiny_run_config(model={**COLBERT, "text_sharing": sharing}).model
        names = build_towers(spec, config, assets, seed=1).named_variables()
        assert sum("tokens.layer_0.kernel" in name for name in names) == kernels


def test_further_views_of_a_candidate_have_bags_of_their_own(spec, assets, corpus):
    model = {**INTTOWER, "text_sharing": "siamese", "candidate_views": 2}
    towers = build_towers(spec, tiny_run_config(model=model).model, assets, seed=1)
    place = [feature.name for feature in towers.candidate.inputs.features].index("title")
    first, second = towers.candidate.encoders_of(place)
    bio = [feature.name for feature in towers.query.inputs.features].index("bio")
    assert first is towers.query.fields[bio]
    tokens = towers.candidate.inputs(tensors(corpus.raw))["title"]
    assert np.abs(first(tokens, None) - second(tokens, None)).max() > 1e-4


def test_layers_that_depend_on_the_number_of_fields_cannot_be_shared(spec, assets):
    model = tiny_run_config(model={**INTTOWER, **DENSE, "text_sharing": "siamese"}).model
    with pytest.raises(ConfigError, match=r"siamese, but model\.body is dense.*: residual"):
        build_towers(spec, model, assets, seed=1)
