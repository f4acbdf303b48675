import json

import numpy as np
import pytest

from tests.fixtures.tiny_checkpoint import (
    HEADS,
    HIDDEN,
    INNER,
    LAYERS,
    POSITIONS,
    VOCABULARY,
    bert_tensors,
    write_checkpoint,
    write_safetensors,
)
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.features.wordpiece_list import read_wordpieces
from tfrs_twotower.layers.bert import BertShape
from tfrs_twotower.layers.checkpoint import read_bert, read_safetensors, read_shape


@pytest.mark.parametrize(("dtype", "tolerance"), [("F32", 0.0), ("F16", 1e-3), ("BF16", 1e-2)])
def test_tensors_come_back(tmp_path, dtype, tolerance):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, bert_tensors(), dtype)
    read = read_safetensors(path)
    assert read.keys() == bert_tensors().keys()
    for name, expected in bert_tensors().items():
        assert read[name].dtype == np.float32
        np.testing.assert_allclose(read[name], expected, rtol=tolerance)


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_shape(tmp_path, prefix):
    write_checkpoint(tmp_path, prefix=prefix)
    shape, tensors = read_bert(tmp_path)
    expected = BertShape(len(VOCABULARY), HIDDEN, LAYERS, HEADS, INNER, POSITIONS, 1e-12)
    assert shape == expected
    assert "embeddings.word_embeddings.weight" in tensors
    assert read_shape(tmp_path) == expected
    assert read_wordpieces(tmp_path / "vocab.txt") == list(VOCABULARY)


def safetensors(header, body=b""):
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + body


def one_tensor(**changes):
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}
    return safetensors({"a": entry}, b"\0" * max(entry["data_offsets"]))


def test_one_tensor(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(one_tensor())
    assert read_safetensors(tmp_path / "model.safetensors") == {"a": [0.0]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x05",
        b"\xff" * 20,
        safetensors(b"[]"),
        safetensors(b"[" * 100_000),
        safetensors(b"\xff\xfe"),
        one_tensor()[:30],
        one_tensor()[:-1],
        one_tensor() + b"\0",
        one_tensor(dtype="F7"),
        one_tensor(shape=[2]),
        one_tensor(shape=[-1]),
        one_tensor(shape=[2**62, 2**62]),
        one_tensor(data_offsets=[4, 0]),
        one_tensor(data_offsets=[4, 8]),
    ],
)
def test_damaged_weights(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(FeatureSpecError, match="cannot be read as safetensors"):
        read_safetensors(tmp_path / "model.safetensors")


def test_cut_short(tmp_path):
    write_checkpoint(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(FeatureSpecError, match="cannot be read as safetensors"):
        read_bert(tmp_path)


def test_missing_files(tmp_path):
    with pytest.raises(FeatureSpecError, match=r"model\.safetensors: cannot be read"):
        read_bert(tmp_path)
    with pytest.raises(FeatureSpecError, match=r"vocab\.txt: cannot be read"):
        read_wordpieces(tmp_path / "vocab.txt")
    with pytest.raises(FeatureSpecError, match=r"model\.safetensors: cannot be read"):
        read_shape(tmp_path)
    write_checkpoint(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(FeatureSpecError, match=r"config\.json: cannot be read"):
        read_bert(tmp_path)


def test_another_architecture(tmp_path):
    write_checkpoint(tmp_path)
    settings = {"num_attention_heads": HEADS, "hidden_act": "relu"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(FeatureSpecError, match="found hidden_act 'relu'"):
        read_bert(tmp_path)
    write_safetensors(tmp_path / "model.safetensors", {"wte.weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(FeatureSpecError, match="only BERT-type encoders"):
        read_bert(tmp_path)
