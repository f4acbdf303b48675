"""What the run configs of a comparison change, setting by setting."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TypeGuard

from tfrs_twotower.config import RunConfig
from tfrs_twotower.evaluation.comparison import comparison_document

_NOT_SETTINGS = ("name", "data_root", "seed")
_ABSENT = object()


def config_changes(
    first: RunConfig, other: RunConfig
) -> dict[str, comparison_document.SettingChange]:
    """The settings that differ, by key, such as `training.epochs`.

    Only keys that one of the documents states are compared, so that another `model.kind` is one
    change and not one for each of its defaults. Lists of settings are compared entry by entry, as
    `pre_ranking.models.1.dropout`; an entry that only one side has is one change. The feature spec
    is given by its file's name.
    """
    dumps = {"before": first.model_dump(mode="json"), "after": other.model_dump(mode="json")}
    stated = [
        _entry_of_one_side(key, list(dumps.values()))
        for config in (first, other)
        for key in _leaves(config.model_dump(mode="json", exclude_unset=True))
    ]
    changes: dict[str, comparison_document.SettingChange] = {}
    for key in dict.fromkeys(stated):
        sides = {
            side: value for side, dump in dumps.items() if (value := _at(dump, key)) is not _ABSENT
        }
        if key in _NOT_SETTINGS or any(_has_entries(value) for value in sides.values()):
            continue
        if len(sides) == 1 or sides["before"] != sides["after"]:
            if key == "spec":
                sides = {side: PurePath(str(path)).name for side, path in sides.items()}
            changes[key] = comparison_document.SettingChange.model_validate(sides)
    return changes


def _leaves(settings: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in settings.items():
        if _has_entries(value):
            value = dict(zip(map(str, range(len(value))), value, strict=True))
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _has_entries(value: object) -> TypeGuard[list[object]]:
    """Whether the value is a list of settings, which is compared entry by entry."""
    return isinstance(value, list) and any(isinstance(part, dict) for part in value)


def _entry_of_one_side(key: str, sides: Sequence[Mapping[str, object]]) -> str:
    """The key, cut after an entry of a list that one side does not have."""
    parts = key.split(".")
    for end, part in enumerate(parts, 1):
        place = ".".join(parts[:end])
        if part.isdigit() and any(_at(side, place) is _ABSENT for side in sides):
            return place
    return key


def _at(settings: object, key: str) -> object:
    for part in key.split("."):
        if isinstance(settings, list) and part.isdigit() and int(part) < len(settings):
            settings = settings[int(part)]
        elif isinstance(settings, dict) and part in settings:
            settings = settings[part]
        else:
            return _ABSENT
    return settings
