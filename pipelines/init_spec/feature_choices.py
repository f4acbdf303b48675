"""Chooses which columns become features of a tower, their kinds, and states the reasons."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from pipelines.init_spec.profiles import Profile, Profiles, feature_name, mentions, names_an_id

TITLE_HINTS = ("title", "name", "label", "headline", "heading", "titel", "nom")
_TEXT_HINTS = ("text", "query", "question", "description", "passage", "abstract", "body")
_CODE_HINTS = ("zip", "postal", "postcode", "plz", "phone")
_FEW_VALUES = 20
_MANY_VALUES = 1000
_TOKEN_WIDTHS = (8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class FeatureDraft:
    """A feature for the spec, with the reason for its kind."""

    name: str
    column: str
    kind: str
    reason: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FeatureDrafts:
    """The features of one side, and the columns that are left out with their reasons."""

    features: tuple[FeatureDraft, ...]
    left_out: tuple[tuple[str, str], ...]


def draft_features(profiles: Profiles, skip: Collection[str], taken: set[str]) -> FeatureDrafts:
    """Drafts a feature for each column that can be one.

    Args:
        profiles: profiles of the columns of a table of queries or candidates, by name.
        skip: columns with another role.
        taken: feature names in use on this side; the function adds the new ones.
    """
    features, left_out = [], []
    for column, profile in profiles.items():
        if column in skip:
            continue
        kind, reason, options = choose_kind(profile)
        if kind is None:
            left_out.append((column, reason))
            continue
        name = feature_name(column, taken)
        taken.add(name)
        features.append(FeatureDraft(name, column, kind, reason, options))
    return FeatureDrafts(tuple(features), tuple(left_out))


def choose_kind(profile: Profile) -> tuple[str | None, str, dict[str, Any]]:
    """The kind of a column's feature, the reason, and the options; None leaves the column out."""
    if profile.holds == "nothing":
        return None, "has no values", {}
    if profile.holds == "objects":
        return None, "holds nested objects; flatten it first", {}
    gaps = f"; {max(profile.missing, 0.01):.0%} missing" if profile.missing > 0 else ""
    if profile.holds == "lists":
        return _lists(profile, gaps)
    if profile.distinct < 2:
        return None, "has one value only", {}
    if profile.time_unit:
        parts = ["month_of_year"]
        return "timestamp", f"times{gaps}", {"unit": profile.time_unit, "parts": parts}
    if profile.separator:
        most = max(str(cell).count(profile.separator) + 1 for cell in profile.present)
        options = {"separator": profile.separator, "max_values": _width(most)}
        return "multi_categorical", f"up to {most} values in one string{gaps}", options
    if profile.numbers and not _is_code(profile):
        kind, reason, options = _number(profile)
        return kind, reason + gaps, options
    return _words(profile, gaps)


def find_title(profiles: Profiles, id_column: str) -> str | None:
    """The column that names records for people: by its name, else the shortest distinctive text."""
    texts = {
        name: profile
        for name, profile in profiles.items()
        if name != id_column and profile.counts and not profile.numbers and not profile.time_unit
    }
    named = [name for name in texts if mentions(name, TITLE_HINTS)]
    distinctive = [name for name, p in texts.items() if p.uniqueness > 0.5 and p.missing < 0.5]
    return min(
        named or distinctive, key=lambda name: sum(map(len, texts[name].counts)), default=None
    )


def _is_code(profile: Profile) -> bool:
    return names_an_id(profile.name) or mentions(profile.name, _CODE_HINTS)


def _lists(profile: Profile, gaps: str) -> tuple[str, str, dict[str, Any]]:
    most = max(len(cell) if isinstance(cell, list) else 1 for cell in profile.present)
    options: dict[str, Any] = {"max_values": _width(most)}
    if profile.list_format is None:
        return "multi_categorical", f"lists of up to {most}{gaps}", options
    options["format"] = profile.list_format
    return "multi_categorical", f"lists of up to {most}, written as text{gaps}", options


def _number(profile: Profile) -> tuple[str, str, dict[str, Any]]:
    low, high = min(profile.numbers), max(profile.numbers)
    spread = f"numbers from {low:g} to {high:g}"
    if profile.number_format is not None:
        spread += f", such as {profile.present[0]}"
        return "numeric", spread, {"format": profile.number_format}
    if profile.whole_numbers and profile.distinct <= _FEW_VALUES:
        return "categorical", f"{profile.distinct} distinct whole numbers", {}
    middle = sorted(profile.numbers)[len(profile.numbers) // 2]
    if low >= 0 and high > 20 * max(middle, 1e-9):
        return "numeric", f"{spread}, most of them small: log", {"transform": "log"}
    return "numeric", f"{spread}: quantile buckets", {"transform": "bucketise", "num_buckets": 16}


def _words(profile: Profile, gaps: str) -> tuple[str | None, str, dict[str, Any]]:
    words = profile.words
    typical, long = words[len(words) // 2], words[math.ceil(0.95 * len(words)) - 1]
    various = profile.distinct > (_FEW_VALUES if profile.uniqueness > 0.5 else _MANY_VALUES)
    named = mentions(profile.name, _TEXT_HINTS) and profile.uniqueness > 0.5
    if named or typical >= 6 or (typical >= 2 and various):
        width = next((w for w in _TOKEN_WIDTHS if w >= 1.5 * long), _TOKEN_WIDTHS[-1])
        reason = f"text, typically {typical} words, 95 % have up to {long}{gaps}"
        if profile.has_accents:
            reason += "; accents tell words apart"
            return "text", reason, {"max_tokens": width, "keep_accents": True}
        return "text", reason, {"max_tokens": width}
    if profile.uniqueness > 0.5 and profile.distinct > _FEW_VALUES:
        return None, "differs in most records: there is nothing to learn from it", {}
    options = {"min_count": 2} if profile.distinct > _MANY_VALUES else {}
    return "categorical", f"{profile.distinct} distinct values{gaps}", options


def _width(most: int) -> int:
    return min(most, 16)
