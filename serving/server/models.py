"""Which models are served, and which versions of each: a `ModelServerConfig` in plain data."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tensorflow_serving.config import model_server_config_pb2

from serving.bundle.server_files import MODELS_NAME, read_models_config
from serving.bundle.versions import list_versions
from tfrs_twotower.errors import BundleError

_LABEL = re.compile(r"[a-zA-Z0-9_]+")


@dataclass(frozen=True)
class Policy:
    """Which of the versions on disk are served."""

    kind: Literal["latest", "specific", "all"]
    num_versions: int = 1
    """Of `latest`."""
    versions: tuple[int, ...] = ()
    """Of `specific`."""

    def choose(self, on_disk: Sequence[int]) -> list[int]:
        """The versions that should be served, newest first.

        Args:
            on_disk: versions that can be loaded, oldest first.
        """
        if self.kind == "latest":
            return list(reversed(on_disk[-self.num_versions :]))
        chosen = on_disk if self.kind == "all" else [v for v in on_disk if v in self.versions]
        return list(reversed(chosen))


@dataclass(frozen=True)
class ServedModel:
    """One model: a bundle, and what is served of it."""

    name: str
    base_path: Path
    policy: Policy
    labels: tuple[tuple[str, int], ...] = ()


def read_models(config: Any) -> dict[str, ServedModel]:
    """Reads a `ModelServerConfig`.

    Args:
        config: `model_server_config_pb2.ModelServerConfig`.

    Returns:
        The models by name.

    Raises:
        BundleError: it lists no models, or one of them is wrong.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise BundleError("the models' config has no model_config_list; list the models in one.")
    models: dict[str, ServedModel] = {}
    for entry in config.model_config_list.config:
        if not entry.name or entry.name in models:
            raise BundleError(
                f"the models' config has the name {entry.name!r} twice, or a model without a name; "
                "every model needs a name of its own."
            )
        models[entry.name] = _read_model(entry)
    return models


def config_of(model_dir: Path) -> Any:
    """The `ModelServerConfig` of a directory.

    A bundle's own `models.config` says which of its versions are served; its base path, which is
    that of a container, does not count.

    Args:
        model_dir: a bundle `bundle/NAME`, or a directory of several.

    Raises:
        BundleError: there is no bundle, or its `models.config` cannot be read.
    """
    if list_versions(model_dir):
        bundles = [model_dir]
    else:
        bundles = [path for path in sorted(model_dir.glob("[!.]*")) if list_versions(path)]
    if not bundles:
        raise BundleError(
            f"{model_dir}: there is no bundle. Expected WORKDIR/bundle/NAME with integer versions "
            "in it, or a directory of such bundles. `twotower export` writes one."
        )
    config = model_server_config_pb2.ModelServerConfig()
    for bundle in bundles:
        name = bundle.resolve().name
        entry = config.model_config_list.config.add(name=name)
        own = bundle / MODELS_NAME
        if own.is_file():
            for found in read_models_config(own).model_config_list.config:
                if found.name == name:
                    entry.CopyFrom(found)
        entry.base_path = str(bundle.resolve())
        entry.model_platform = "tensorflow"
    return config


def _read_model(entry: Any) -> ServedModel:
    if not entry.base_path:
        raise BundleError(f"model '{entry.name}': has no base_path.")
    if entry.model_platform not in ("", "tensorflow"):
        raise BundleError(
            f"model '{entry.name}': found the platform '{entry.model_platform}'; only tensorflow "
            "is served."
        )
    for label in entry.version_labels:
        if not _LABEL.fullmatch(label):
            raise BundleError(
                f"model '{entry.name}': found the label '{label}'; labels are letters, digits "
                "and underscores."
            )
    labels = tuple(sorted(entry.version_labels.items()))
    return ServedModel(entry.name, Path(entry.base_path), _read_policy(entry), labels)


def _read_policy(entry: Any) -> Policy:
    policy = entry.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "specific":
            if not policy.specific.versions:
                raise BundleError(f"model '{entry.name}': the policy specific names no versions.")
            return Policy("specific", versions=tuple(policy.specific.versions))
        case "all":
            return Policy("all")
        case _:
            return Policy("latest", num_versions=max(policy.latest.num_versions, 1))
