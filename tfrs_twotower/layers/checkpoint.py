"""Reads a pretrained BERT-type encoder: `model.safetensors`, `vocab.txt`, `config.json`.

A safetensors file is an 8-byte little-endian header length, a JSON header that gives each tensor
its type, shape and byte range, and the raw bytes. Nothing in it is executed.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.layers.bert import BertShape

WEIGHTS_NAME = "model.safetensors"
VOCABULARY_NAME = "vocab.txt"
SETTINGS_NAME = "config.json"
_LENGTH_BYTES = 8
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def read_safetensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Every floating-point tensor of a file, as float32.

    Raises:
        FeatureSpecError: the file is missing, cut short, or not safetensors.
    """
    try:
        data = path.read_bytes()
        length = int.from_bytes(data[:_LENGTH_BYTES], "little")
        body = memoryview(data)[_LENGTH_BYTES + length :]
        header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
        header.pop("__metadata__", None)
        return {
            name: _tensor(entry, body)
            for name, entry in header.items()
            if entry["dtype"] in (*_TYPES, "BF16")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise FeatureSpecError(
            f"{path}: cannot be read as safetensors: {cause}. Give checkpoint: the directory of "
            f"a BERT-type encoder with {WEIGHTS_NAME}."
        ) from cause


def _tensor(entry: dict[str, Any], body: memoryview) -> npt.NDArray[np.float32]:
    start, end = entry["data_offsets"]
    if entry["dtype"] == "BF16":  # the upper half of a float32
        halves = np.frombuffer(body[start:end], "<u2").astype(np.uint32)
        values = (halves << 16).view(np.float32)
    else:
        values = np.frombuffer(body[start:end], _TYPES[entry["dtype"]]).astype(np.float32)
    return values.reshape(entry["shape"])


def read_vocabulary(directory: Path) -> list[str]:
    """The checkpoint's WordPiece list.

    Raises:
        FeatureSpecError: there is none.
    """
    path = directory / VOCABULARY_NAME
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, ValueError) as cause:
        raise FeatureSpecError(
            f"{path}: cannot be read: {cause}. A checkpoint needs its WordPiece list, one a line."
        ) from cause
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def read_bert(directory: Path) -> tuple[BertShape, dict[str, npt.NDArray[np.float32]]]:
    """Shape and tensors of an encoder; names lose a leading `bert.`.

    Raises:
        FeatureSpecError: a file is missing, or the tensors are not those of a BERT encoder.
    """
    tensors = {
        name.removeprefix("bert."): value
        for name, value in read_safetensors(directory / WEIGHTS_NAME).items()
    }
    path = directory / SETTINGS_NAME
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        num_heads = int(settings["num_attention_heads"])
        epsilon = float(settings.get("layer_norm_eps", 1e-12))
        activation = settings.get("hidden_act", "gelu")
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise FeatureSpecError(
            f"{path}: cannot be read: {cause}. A checkpoint needs the settings file that was "
            "published with it: it says num_attention_heads."
        ) from cause
    try:
        num_pieces, hidden = tensors["embeddings.word_embeddings.weight"].shape
        num_positions = tensors["embeddings.position_embeddings.weight"].shape[0]
        inner = tensors["encoder.layer.0.intermediate.dense.weight"].shape[0]
    except KeyError as cause:
        raise FeatureSpecError(
            f"{directory / WEIGHTS_NAME}: has no tensor {cause}; only BERT-type encoders can be "
            "read."
        ) from None
    if activation != "gelu" or hidden % num_heads:
        raise FeatureSpecError(
            f"{path}: found hidden_act {activation!r} and {num_heads} heads for {hidden} "
            "dimensions; only gelu and a divisor of the dimension can be read."
        )
    layers = {int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layer.")}
    shape = BertShape(
        num_pieces=num_pieces,
        hidden_dim=hidden,
        num_layers=len(layers),
        num_heads=num_heads,
        feed_forward_dim=inner,
        num_positions=num_positions,
        epsilon=epsilon,
    )
    return shape, tensors
