"""What one run config says differently from another."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from tfrs_twotower.config import RunConfig

_NOT_SETTINGS = ("name", "data_root", "seed")
_ABSENT = object()


def config_changes(first: RunConfig, other: RunConfig) -> dict[str, dict[str, Any]]:
    """Keys that differ, as `{"training.epochs": {"from": 30, "to": 10}}`.

    Only keys that one of the documents states are looked at, so that another `model.kind` is one
    change and not one for each of its defaults. A key that one side does not have is left out
    there. Of the spec the file's name is given.
    """
    sides = (("from", first.model_dump(mode="json")), ("to", other.model_dump(mode="json")))
    stated = dict.fromkeys((*_stated_keys(first), *_stated_keys(other)))
    changes: dict[str, dict[str, Any]] = {}
    for key in stated:
        found = {side: value for side, dump in sides if (value := _at(dump, key)) is not _ABSENT}
        if key not in _NOT_SETTINGS and (len(found) == 1 or found["from"] != found["to"]):
            changes[key] = found
    if "spec" in changes:
        changes["spec"] = {s: PurePath(path).name for s, path in changes["spec"].items()}
    return changes


def _stated_keys(config: RunConfig) -> Iterator[str]:
    return _leaves(config.model_dump(mode="json", exclude_unset=True))


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _at(settings: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(settings, dict) or part not in settings:
            return _ABSENT
        settings = settings[part]
    return settings
