"""The models to serve and the versions of each: a `ModelServerConfig`, read and checked.

It comes from a directory of bundles or from a file.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from serving.bundle import server_files, versions
from tfrs_twotower.errors import BundleError

ModelSource = Callable[[], Any]
"""Reads the current `ModelServerConfig`, or raises `BundleError` if there is none."""
_LABEL = re.compile(r"[a-zA-Z0-9_]+")


def from_directory(model_dir: Path) -> ModelSource:
    """Serves a bundle, or a directory of several, each as its own `models.config` says."""
    return partial(config_of, model_dir)


def from_config_file(path: Path) -> ModelSource:
    """Serves the models of a file with a `ModelServerConfig` in text format."""
    return partial(server_files.read_models_config, path)


def config_of(model_dir: Path) -> Any:
    """The `ModelServerConfig` of a directory.

    A bundle's own `models.config` says which of its versions are served. Its base path is valid in
    a container only, and is replaced by the bundle's directory.

    Args:
        model_dir: a bundle `bundle/NAME`, or a directory of several.

    Raises:
        BundleError: there is no bundle, or its `models.config` cannot be read.
    """
    if versions.list_versions(model_dir):
        bundles = [model_dir]
    else:
        bundles = [path for path in sorted(model_dir.glob("[!.]*")) if versions.list_versions(path)]
    if not bundles:
        raise BundleError(
            f"{model_dir}: there is no bundle. Expected WORKDIR/bundle/NAME with integer versions "
            "in it, or a directory of such bundles. `twotower export` writes one."
        )
    config = model_server_config_pb2.ModelServerConfig()
    for bundle in bundles:
        name = bundle.resolve().name
        entry = config.model_config_list.config.add(name=name)
        own = bundle / server_files.MODELS_NAME
        if own.is_file():
            for model in server_files.read_models_config(own).model_config_list.config:
                if model.name == name:
                    entry.CopyFrom(model)
        entry.base_path = str(bundle.resolve())
        entry.model_platform = "tensorflow"
    return config


def read_models(config: Any) -> dict[str, Any]:
    """Checks a `ModelServerConfig`.

    Args:
        config: `model_server_config_pb2.ModelServerConfig`.

    Returns:
        The `ModelConfig` of each model by name.

    Raises:
        BundleError: the config lists no models, or an entry is wrong.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise BundleError("the models' config has no model_config_list; list the models in one.")
    models: dict[str, Any] = {}
    for model in config.model_config_list.config:
        if not model.name or model.name in models:
            raise BundleError(
                f"the models' config has the name {model.name!r} twice, or a model without a name; "
                "give every model a name of its own."
            )
        models[model.name] = model
    for model in models.values():
        _check_model(model)
    return models


def wanted_versions(model: Any, on_disk: Sequence[int]) -> list[int]:
    """The versions that should serve, newest first.

    Args:
        model: `ModelConfig`.
        on_disk: numbers of the versions that can be loaded, oldest first.
    """
    policy = model.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            wanted = list(on_disk)
        case "specific":
            wanted = [version for version in on_disk if version in policy.specific.versions]
        case _:
            wanted = list(on_disk[-max(policy.latest.num_versions, 1) :])
    return wanted[::-1]


def _check_model(model: Any) -> None:
    if not Path(model.base_path).is_absolute():
        raise BundleError(
            f"model '{model.name}': found the base_path '{model.base_path}'; expected an absolute "
            "path. Name the bundle's directory in full."
        )
    if model.model_platform != "tensorflow":
        raise BundleError(
            f"model '{model.name}': found the model_platform '{model.model_platform}'; only "
            'tensorflow is served. Write model_platform: "tensorflow".'
        )
    for label in model.version_labels:
        if not _LABEL.fullmatch(label):
            raise BundleError(
                f"model '{model.name}': found the label '{label}'; labels are letters, digits "
                "and underscores."
            )
    policy = model.model_version_policy
    if policy.HasField("specific") and not policy.specific.versions:
        raise BundleError(f"model '{model.name}': the policy specific names no versions.")
