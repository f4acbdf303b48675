import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import tensors
from tests.fixtures.tiny import tiny_run_config
from tests.fixtures.tiny_checkpoint import EPSILON, HEADS, HIDDEN, bert_tensors, write_checkpoint
from tests.reference import bert as reference
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.errors import ConfigError, FeatureSpecError
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.storage import load_towers, save_towers

TRANSFORMER = {"num_layers": 1, "num_heads": 2, "feed_forward_dim": 16}
MODEL = {"embedding_dim": HIDDEN, "num_residual_layers": 0}


def text_spec(max_tokens=8, checkpoint="bert", **options):
    """Queries and candidates are texts of one pretrained encoder."""
    text = {"kind": "text", "encoder": "pretrained", "checkpoint": checkpoint}
    text |= {"vocabulary": "pieces", "max_tokens": max_tokens, **options}
    return FeatureSpec.model_validate(
        {
            "name": "texts",
            "interactions": {"path": "i.csv", "query_id": "q", "candidate_id": "c"},
            "queries": {"path": "q.csv", "id": "q", "split": "split"},
            "candidates": {"path": "c.csv", "id": "c"},
            "query": {"features": [{"name": "question", **text}]},
            "candidate": {"features": [{"name": "passage", **text}]},
            "split": {"kind": "given"},
        }
    )


def build(tmp_path, spec, model=MODEL, assets=None):
    write_checkpoint(tmp_path / "bert")
    config = tiny_run_config(model=model).model
    assets = assets or Assets({}, {"numeric": {}})
    return build_towers(spec, config, assets, seed=3, checkpoint_root=tmp_path), config, assets


def test_pretrained_field_is_the_mean_of_the_reference(tmp_path):
    towers, _, _ = build(tmp_path, text_spec())
    raw = {"question": tf.constant(["Calm louder guitar.", ""])}
    tokens = towers.query.inputs(raw)
    assert tokens["question"].numpy().tolist() == [[2, 4, 5, 6, 7, 9, 3, 0], [0] * 8]
    vectors = reference.encode(bert_tensors(), [2, 4, 5, 6, 7, 9, 3], HEADS, EPSILON)
    fields = towers.query.encode_fields(tokens)
    np.testing.assert_allclose(fields[0, 0], vectors.mean(axis=0), rtol=1e-3, atol=1e-4)
    assert not fields[1].numpy().any()


@pytest.mark.parametrize(("keep", "row"), [(False, 4), (True, 1)])
def test_the_towers_keep_the_accents_that_their_feature_keeps(tmp_path, keep, row):
    """The list has `calm`; with its accent kept, the word is another and unknown."""
    towers, _, _ = build(tmp_path, text_spec(keep_accents=keep))
    for tower, name in ((towers.query, "question"), (towers.candidate, "passage")):
        tokens = tower.inputs({name: tf.constant(["C\u00e1lm"])})[name]
        assert tokens.numpy().tolist() == [[2, row, 3, 0, 0, 0, 0, 0]]


def test_one_encoder_for_both_towers(tmp_path):
    towers, _, _ = build(tmp_path, text_spec())
    names = list(towers.named_variables())
    assert sum(name.endswith("pieces") for name in names) == 1
    shared = {v.ref() for v in towers.query.variables} & {
        v.ref() for v in towers.candidate.variables
    }
    assert len(shared) == len(names) - 2  # each tower's bias is its own


def test_projection_to_another_dimension_and_a_bit_equal_round_trip(tmp_path):
    towers, config, assets = build(tmp_path, text_spec(), {"embedding_dim": 6})
    assert towers.named_variables()["query.fields.question.projection"].shape == [HIDDEN, 6]
    directory = tmp_path / "model"
    directory.mkdir()
    save_towers(towers, text_spec(), config, assets, directory)
    (tmp_path / "bert" / "model.safetensors").unlink()
    raw = {"question": tf.constant(["calm guitar", "velvet"])}
    np.testing.assert_array_equal(load_towers(directory).query(raw), towers.query(raw))


def test_length_must_fit_the_checkpoint(tmp_path):
    for max_tokens in (2, 17):
        with pytest.raises(FeatureSpecError, match="its checkpoint takes 3 to 16"):
            build(tmp_path, text_spec(max_tokens))


def test_missing_checkpoint(tmp_path):
    with pytest.raises(FeatureSpecError, match=r"vocab\.txt: cannot be read"):
        build(tmp_path, text_spec(checkpoint="elsewhere"))


def test_heads_must_divide(spec, assets):
    model = {"embedding_dim": 10, "transformer": {"num_heads": 4}}
    with pytest.raises(ConfigError, match=r"num_heads: found 4, which does not divide.*10"):
        build_towers(spec, tiny_run_config(model=model).model, assets, seed=1)


def test_history_and_candidate_share_their_table(spec, assets, test_queries):
    towers = build_towers(spec, tiny_run_config().model, assets, seed=1)
    table = towers.named_variables()["tables.item_id"]
    raw = tensors(test_queries.inputs)
    before = towers.query(raw)
    table.assign(-table)
    assert not np.allclose(towers.query(raw), before)
    assert table.ref() in {v.ref() for v in towers.candidate.variables}


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"history_half_life": 1.0, "history_content": "learned"},
        {"history_encoder": "transformer", "history_transformer": TRANSFORMER},
        {"kind": "dat", "query_augmentation": "history_mean"},
    ],
)
def test_towers_read_the_most_recent_events_only(spec, assets, corpus, test_queries, model):
    config = tiny_run_config(model={"embedding_dim": 16, "history_length": 2, **model}).model
    towers = build_towers(spec, config, assets, seed=0)
    whole = {name: values[:4].copy() for name, values in test_queries.inputs.items()}
    ids = corpus.ids.astype(bytes)
    whole["history"][:, :4] = [ids[:4], ids[1:5], ids[2:6], ids[3:7]]
    tokens = towers.candidate.inputs(tensors(corpus.raw))
    towers.adapt(towers.query.inputs(tensors(whole)), tokens)
    towers.refresh_derived_state(tokens)
    recent = {**whole, "history": whole["history"].copy()}
    recent["history"][:, 2:] = b""
    vectors = towers.query(tensors(whole)).numpy()
    np.testing.assert_allclose(vectors, towers.query(tensors(recent)).numpy(), atol=1e-6)
    recent["history"][:, 1:] = b""
    assert np.abs(vectors - towers.query(tensors(recent)).numpy()).max() > 1e-3
