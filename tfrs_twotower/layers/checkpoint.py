"""Reads a pretrained BERT-type encoder: `model.safetensors`, `vocab.txt`, `config.json`.

Nothing in these files is executed.
"""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.layers.bert import BertShape
from tfrs_twotower.tables.line_lists import read_pieces

WEIGHTS_NAME = "model.safetensors"
VOCABULARY_NAME = "vocab.txt"
SETTINGS_NAME = "config.json"
# BF16 is a type of NumPy as soon as TensorFlow, which `bert` imports, has been loaded.
_FLOATS = ("F64", "F32", "F16", "BF16")


def read_safetensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Every floating-point tensor of a file, as float32.

    Tensors of integers, such as a buffer of positions, are passed over.

    Raises:
        FeatureSpecError: the file is missing, cut short, or not safetensors.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return {
                name: file.get_tensor(name).astype(np.float32, copy=False)
                for name in file.keys()  # noqa: SIM118  (cannot be iterated over itself)
                if file.get_slice(name).get_dtype() in _FLOATS
            }
    except (OSError, SafetensorError) as cause:
        raise FeatureSpecError(
            f"{path}: cannot be read as safetensors: {cause}. Give checkpoint: the directory of "
            f"a BERT-type encoder with {WEIGHTS_NAME}."
        ) from cause


def read_vocabulary(directory: Path) -> list[str]:
    """The checkpoint's WordPiece list.

    Raises:
        FeatureSpecError: there is none.
    """
    path = directory / VOCABULARY_NAME
    try:
        return read_pieces(path)
    except (OSError, ValueError) as cause:
        raise FeatureSpecError(
            f"{path}: cannot be read: {cause}. A checkpoint needs its WordPiece list, one a line."
        ) from cause


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
