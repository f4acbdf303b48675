"""Reads a pretrained BERT-type encoder: `model.safetensors`, `vocab.txt`, `config.json`.

Nothing in these files is executed.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from tfrs_twotower.documents import user_path
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.layers.bert import BertShape
from tfrs_twotower.specs import FeatureDeclarations, TextFeature

WEIGHTS_NAME = "model.safetensors"
SETTINGS_NAME = "config.json"
_PREFIX = "bert."
# BF16 is a type of NumPy as soon as TensorFlow, which `bert` imports, has been loaded.
_FLOATS = ("F64", "F32", "F16", "BF16")


def read_safetensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Every floating-point tensor of a file, as float32.

    Tensors of integers, such as a buffer of positions, are passed over.

    Raises:
        FeatureSpecError: the file is missing, cut short, or not safetensors.
    """
    with _reading(path), safe_open(path, framework="numpy") as file:
        return {
            name: file.get_tensor(name).astype(np.float32, copy=False)
            for name in file.keys()  # noqa: SIM118  (cannot be iterated over itself)
            if file.get_slice(name).get_dtype() in _FLOATS
        }


def read_bert(directory: Path) -> tuple[BertShape, dict[str, npt.NDArray[np.float32]]]:
    """Shape and tensors of an encoder; names lose a leading `bert.`.

    Raises:
        FeatureSpecError: a file is missing, or the tensors are not those of a BERT encoder.
    """
    tensors = {
        name.removeprefix(_PREFIX): value
        for name, value in read_safetensors(directory / WEIGHTS_NAME).items()
    }
    return _shape(directory, {name: value.shape for name, value in tensors.items()}), tensors


def checkpoint_files(spec: FeatureDeclarations, root: Path) -> list[Path]:
    """Files of weights and settings of all pretrained encoders, each once, by path.

    Args:
        spec: the features of both sides.
        root: where relative `checkpoint` directories start.
    """
    features = (*spec.query.features, *spec.candidate.features)
    directories = {
        user_path(feature.checkpoint, root)
        for feature in features
        if isinstance(feature, TextFeature) and feature.checkpoint is not None
    }
    return sorted(
        directory / name for directory in directories for name in (WEIGHTS_NAME, SETTINGS_NAME)
    )


def read_shape(directory: Path) -> BertShape:
    """The shape of an encoder, from the head of its file: no weight is read.

    Raises:
        FeatureSpecError: see `read_bert`.
    """
    path = directory / WEIGHTS_NAME
    with _reading(path), safe_open(path, framework="numpy") as file:
        shapes = {
            name.removeprefix(_PREFIX): tuple(file.get_slice(name).get_shape())
            for name in file.keys()  # noqa: SIM118  (cannot be iterated over itself)
        }
    return _shape(directory, shapes)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as cause:
        raise FeatureSpecError(
            f"{path}: cannot be read as safetensors: {cause}. Give checkpoint: the directory of "
            f"a BERT-type encoder with {WEIGHTS_NAME}, relative to the data root."
        ) from cause


def _shape(directory: Path, shapes: Mapping[str, tuple[int, ...]]) -> BertShape:
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
        num_pieces, hidden = shapes["embeddings.word_embeddings.weight"]
        num_positions = shapes["embeddings.position_embeddings.weight"][0]
        inner = shapes["encoder.layer.0.intermediate.dense.weight"][0]
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
    layers = {int(name.split(".")[2]) for name in shapes if name.startswith("encoder.layer.")}
    return BertShape(
        num_pieces=num_pieces,
        hidden_dim=hidden,
        num_layers=len(layers),
        num_heads=num_heads,
        feed_forward_dim=inner,
        num_positions=num_positions,
        epsilon=epsilon,
    )
