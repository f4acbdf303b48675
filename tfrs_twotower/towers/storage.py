"""Towers on disk: architecture, weights, vocabularies and statistics.

architecture.json   feature spec, model config, shapes of pretrained encoders and of a wide part
weights.npz         every weight under its dotted name; the same weights give the same bytes
vocabularies/  statistics.json
fresh_ids/          ids that a refit knows beside the vocabularies, and the first fit does not
"""

import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from pydantic import TypeAdapter, ValidationError

from tfrs_twotower.artifacts import layout
from tfrs_twotower.config import ModelConfig
from tfrs_twotower.data.assets import Assets, load_assets, write_assets
from tfrs_twotower.data.stored_arrays import load_array, load_arrays
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.layers.bert import BertShape
from tfrs_twotower.specs import FeatureDeclarations, FeatureSpec, TowerFeatures
from tfrs_twotower.towers import build, narrow, tower, wide

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_SEED_OF_REPLACED_WEIGHTS = 0


def save_towers(
    towers: tower.Towers,
    spec: FeatureSpec | TowerFeatures,
    model_config: ModelConfig,
    assets: Assets,
    directory: Path,
) -> None:
    """Writes everything that `load_towers` needs into an existing directory."""
    architecture = {
        "spec": spec.model_dump(mode="json"),
        "model": model_config.model_dump(mode="json"),
        "pretrained": {name: asdict(shape) for name, shape in towers.pretrained_shapes.items()},
        "wide": towers.shape._asdict() if isinstance(towers, wide.WideTowers) else None,
    }
    text = json.dumps(architecture, indent=2, sort_keys=True, ensure_ascii=False)
    (directory / layout.ARCHITECTURE).write_text(text + "\n", encoding="utf-8")
    write_assets(assets, directory)
    write_weights(towers.named_variables(), directory / layout.WEIGHTS)


def load_towers(
    directory: Path, weights: str = layout.WEIGHTS, *, width: int | None = None
) -> tower.Towers:
    """Rebuilds saved towers with their weights.

    Args:
        directory: where they were saved.
        weights: name of the weights file; towers with the weights of the first fit know its ids
            only.
        width: number of first entries that embeddings keep (`NarrowTowers`); by default all.

    Raises:
        MissingArtifact: a file is missing.
        CorruptArtifact: a file cannot be read, or the weights do not fit the architecture.
    """
    path = directory / layout.ARCHITECTURE
    try:
        architecture = json.loads(path.read_text(encoding="utf-8"))
        spec = _declared(architecture["spec"])
        model_config: ModelConfig = TypeAdapter(ModelConfig).validate_python(architecture["model"])
        shapes = {name: BertShape(**shape) for name, shape in architecture["pretrained"].items()}
        wide_shape = _wide_shape(architecture)
    except FileNotFoundError:
        raise MissingArtifact(f"{path}: is missing; train first.") from None
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. Train again.") from cause
    assets = load_assets(directory)
    if weights == layout.FIRST_FIT_WEIGHTS:
        assets = assets.of_first_fit()
    towers = build.build_towers(
        spec,
        model_config,
        assets,
        seed=_SEED_OF_REPLACED_WEIGHTS,
        pretrained_shapes=shapes,
    )
    if wide_shape is not None:
        empty = wide.WidePart.empty(wide_shape, wide.num_tokens(spec, assets))
        towers = wide.WideTowers(towers, empty, spec)
    assign_weights(towers, read_weights(directory / weights), str(directory / weights))
    if width is not None and width < towers.embedding_dim:
        return narrow.NarrowTowers(towers, width)
    return towers


def _declared(spec: dict[str, Any]) -> FeatureDeclarations:
    """Tells by its tables whether a whole feature spec or only its features were saved."""
    if "interactions" in spec:
        return FeatureSpec.model_validate(spec)
    return TowerFeatures.model_validate(spec)


def _wide_shape(architecture: dict[str, Any]) -> wide.WideShape | None:
    stored = architecture.get("wide")
    if stored is None:
        return None
    half_lives = tuple(None if life is None else float(life) for life in stored["half_lives"])
    return wide.WideShape(half_lives, int(stored["rank"]), int(stored["num_counts"]))


def copy_towers(source: Path, destination: Path) -> None:
    """Copies the files that `load_towers` reads into a directory that does not exist yet."""
    destination.mkdir()
    for name in (layout.ARCHITECTURE, layout.WEIGHTS, layout.STATISTICS):
        shutil.copy2(source / name, destination / name)
    for name in (layout.VOCABULARIES, layout.FRESH_IDS):
        if (source / name).exists():
            shutil.copytree(source / name, destination / name)


def load_spec_of(directory: Path) -> tuple[FeatureSpec, ModelConfig]:
    """Reads the feature spec and the model config of the towers of a run."""
    architecture = json.loads((directory / layout.ARCHITECTURE).read_text(encoding="utf-8"))
    model_config: ModelConfig = TypeAdapter(ModelConfig).validate_python(architecture["model"])
    return FeatureSpec.model_validate(architecture["spec"]), model_config


def embedding_dim_of(directory: Path) -> int:
    """The dimension of saved towers' vectors, a wide part included."""
    architecture = json.loads((directory / layout.ARCHITECTURE).read_text(encoding="utf-8"))
    shape = _wide_shape(architecture)
    model_config: ModelConfig = TypeAdapter(ModelConfig).validate_python(architecture["model"])
    return model_config.vector_dim + (0 if shape is None else shape.dim)


def write_weights(weights: Mapping[str, Any], path: Path) -> None:
    """Writes arrays or variables as an uncompressed .npz; its bytes depend on the values only."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(weights):
            buffer = BytesIO()
            np.lib.format.write_array(buffer, np.asanyarray(weights[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _ZIP_TIME), buffer.getvalue())


def read_weights(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Reads what `write_weights` wrote.

    Raises:
        MissingArtifact: the file is missing.
        CorruptArtifact: the file cannot be read.
    """
    try:
        return load_arrays(path)
    except FileNotFoundError:
        raise MissingArtifact(f"{path}: is missing; train first.") from None
    except (OSError, ValueError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. Train again.") from cause


def read_array(path: Path, shape: tuple[int | None, ...]) -> npt.NDArray[np.float32]:
    """Reads one .npy file of float32.

    Args:
        path: the file.
        shape: expected sizes; None allows any size.

    Raises:
        MissingArtifact: the file is missing.
        CorruptArtifact: the file cannot be read, or has another type or shape.
    """
    try:
        array = load_array(path)
    except FileNotFoundError:
        raise MissingArtifact(f"{path}: is missing; train first.") from None
    except (OSError, ValueError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. Train again.") from cause
    fits = array.ndim == len(shape) and all(
        size in (None, own) for size, own in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != np.float32:
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise CorruptArtifact(
            f"{path}: is {array.dtype} of shape {array.shape}, expected float32 of shape "
            f"({expected}). Train again."
        )
    return array


class NamedWeights(Protocol):
    """Towers, or another model that names its weights."""

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns every weight by its dotted name."""


def assign_weights(model: NamedWeights, weights: dict[str, npt.NDArray[Any]], where: str) -> None:
    """Sets every weight of towers, or of another model.

    Raises:
        CorruptArtifact: a weight is missing, surplus, or of another shape; then no weight is set.
    """
    variables = model.named_variables()
    for name in sorted(variables.keys() | weights.keys()):
        if name not in weights:
            raise CorruptArtifact(f"{where}: the weight '{name}' is missing. Train again.")
        if name not in variables:
            raise CorruptArtifact(
                f"{where}: the weight '{name}' belongs to no part of the model. Train again."
            )
        expected, shape = tuple(variables[name].shape), weights[name].shape
        if expected != shape or weights[name].dtype != np.float32:
            raise CorruptArtifact(
                f"{where}: the weight '{name}' is {weights[name].dtype} of shape {shape}, "
                f"expected float32 of shape {expected}. Train again."
            )
    for name, variable in variables.items():
        variable.assign(weights[name])
