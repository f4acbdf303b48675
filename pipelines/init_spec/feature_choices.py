"""Chooses which columns become features of a tower, their kinds, and states the reasons."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from pipelines.init_spec import column_names
from pipelines.init_spec.profiles import Profile, Profiles
from pipelines.init_spec.times import WrittenTimes
from pipelines.transforms.cells import as_text
from tfrs_twotower.data.ids import plain_id

_FEW_VALUES = 20
_MANY_VALUES = 1000
_COMES_AGAIN = 0.1
"""Distinct values divided by all: short texts of which each occurs ten times are categories."""
_NEARLY_EMPTY = 0.95
_FLAG_GAPS = 0.05
_LONGEST_TITLE = 120
_NOTHING = ": there is nothing to learn from it"
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


def draft_features(
    profiles: Profiles,
    id_column: str | None,
    skip: Collection[str],
    taken: set[str],
    title: str | None,
) -> FeatureDrafts:
    """Drafts a feature for each column that can be one.

    Args:
        profiles: profiles of the columns of a table of queries or candidates, by name.
        id_column: column of the table's ids.
        skip: columns with another role.
        taken: feature names in use on this side; the function adds the new ones.
        title: the column with the records' names, which is a text however short they are.
    """
    features, left_out = [], []
    said: dict[tuple[str, ...], str] = {}
    for column, profile in profiles.items():
        if column in skip or column == id_column:
            continue
        kind, reason, options = choose_kind(profile, is_title=column == title)
        twin = _says_the_same(profile, said, profiles.get(id_column or ""))
        if twin and not profile.is_opaque:
            kind, reason = None, f"repeats {twin}"
        if kind is None:
            left_out.append((column, reason))
            continue
        name = column_names.feature_name(column, taken)
        taken.add(name)
        features.append(FeatureDraft(name, column, kind, reason, options))
    return FeatureDrafts(tuple(features), tuple(left_out))


def _says_the_same(
    profile: Profile, said: dict[tuple[str, ...], str], identity: Profile | None
) -> str:
    """The earlier column, or the id, whose values a column repeats record by record; or ""."""
    if profile.holds != "values" or profile.distinct < 2:
        return ""
    values = [as_text(cell).strip().casefold() for cell in profile.present]
    if identity is not None and len(identity.present) == len(values):
        ids = [as_text(cell).strip().casefold() for cell in identity.present]
        pairs = list(zip(values, ids, strict=True))
        if all(value == own or plain_id(value) == plain_id(own) for value, own in pairs):
            return "the id"
    key = (str(profile.num_records), *values)
    twin = said.setdefault(key, profile.name)
    return "" if twin == profile.name else f"'{twin}'"


def choose_kind(
    profile: Profile, *, is_title: bool = False
) -> tuple[str | None, str, dict[str, Any]]:
    """The kind of a column's feature, the reason, and the options; None leaves the column out."""
    if profile.holds in _NO_FEATURE:
        return None, _NO_FEATURE[profile.holds], {}
    if profile.missing > _NEARLY_EMPTY:
        return None, f"is nearly empty: {profile.missing:.1%} missing", {}
    gaps = f"; {max(profile.missing, 0.01):.0%} missing" if profile.missing > 0 else ""
    if profile.meaning is not None and profile.is_opaque:
        return None, profile.meaning.why_left_out, {}
    if profile.holds == "lists":
        return _lists(profile, gaps)
    if profile.distinct < 2:
        return _one_value(profile)
    if profile.times:
        return _times(profile.times, gaps)
    if profile.separator:
        most = max(str(cell).count(profile.separator) + 1 for cell in profile.present)
        options = {"separator": profile.separator, "max_values": _width(most)}
        return "multi_categorical", f"up to {most} values in one string{gaps}", options
    if profile.numbers and not profile.is_code:
        kind, reason, options = _number(profile)
        return kind, reason + gaps, options
    return _words(profile, gaps, is_title=is_title)


_NO_FEATURE = {"nothing": "has no values", "objects": "holds nested objects; flatten it first"}


def _times(times: WrittenTimes, gaps: str) -> tuple[str | None, str, dict[str, Any]]:
    if times.either_order:
        example = times.either_order
        return None, f"has dates such as {example}: day or month first? Say --date-order", {}
    return "timestamp", f"times{gaps}", {"unit": times.unit, "parts": ["month_of_year"]}


def _one_value(profile: Profile) -> tuple[str | None, str, dict[str, Any]]:
    """A mark such as `x` beside empty cells says something; a constant does not."""
    if _FLAG_GAPS <= profile.missing <= 1 - _FLAG_GAPS:
        value = as_text(profile.present[0])
        return "categorical", f"'{value}' or nothing; {profile.missing:.0%} missing", {}
    return None, "has one value only", {}


def find_title(profiles: Profiles, id_column: str | None) -> str | None:
    """The column that names records for people: distinct short texts, best with a telling name.

    Prices, times, links, codes and lists are none, whatever their column is called; nor are the
    names of people, where the records are people.
    """
    scores: dict[str, float] = {}
    for name, profile in profiles.items():
        if name == id_column or not _may_be_title(profile):
            continue
        lengths = sorted(len(text) for text in profile.texts)
        middle, words = lengths[len(lengths) // 2], profile.words[len(profile.words) // 2]
        named = column_names.mentions(name, column_names.TITLE_WORDS)
        maker = column_names.mentions(name, column_names.MAKER_WORDS)
        thing = column_names.mentions(name, column_names.ITEM_WORDS)
        distinct = profile.uniqueness > 0.5
        if not distinct and (maker or not named or profile.distinct <= _FEW_VALUES):
            continue
        score = 0.0 if maker else 2.0 * named + 1.0 * thing
        score -= 1.0 * column_names.mentions(name, column_names.TEXT_WORDS)
        score -= 1.5 * (column_names.names_an_id(name) and words < 2)
        score -= 3.0 * (middle > _LONGEST_TITLE or words > 15)
        scores[name] = score + 2.0 * distinct + 0.5 * (words > 1) - middle / 500
    return max(scores, key=lambda name: scores[name], default=None)


def _may_be_title(profile: Profile) -> bool:
    other = profile.numbers or profile.times or profile.separator or profile.meaning
    if other or not profile.counts or profile.missing >= 0.5 or profile.distinct < 2:
        return False
    texts = profile.texts
    letters = sum(2 * sum(map(str.isalpha, text)) > len(text) for text in texts)
    return letters > 0.5 * len(texts)


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
    options: dict[str, Any] = {}
    if profile.number_format is not None:
        spread += f", such as {profile.present[0]}"
        options["format"] = profile.number_format
    elif profile.whole_numbers and profile.distinct <= _FEW_VALUES:
        return "categorical", f"{profile.distinct} distinct whole numbers", {}
    middle = sorted(profile.numbers)[len(profile.numbers) // 2]
    if low >= 0 and high > 20 * max(middle, 1e-9):
        return "numeric", f"{spread}, most of them small: log", {**options, "transform": "log"}
    options |= {"transform": "bucketise", "num_buckets": 16}
    return "numeric", f"{spread}: quantile buckets", options


def _words(
    profile: Profile, gaps: str, *, is_title: bool
) -> tuple[str | None, str, dict[str, Any]]:
    words = profile.words
    typical, long = words[len(words) // 2], words[math.ceil(0.95 * len(words)) - 1]
    many = profile.distinct > (_FEW_VALUES if profile.uniqueness > 0.5 else _MANY_VALUES)
    various = many and profile.uniqueness > _COMES_AGAIN
    if profile.is_code:
        return _code(profile, gaps)
    named = column_names.mentions(profile.name, column_names.TEXT_WORDS)
    named = (named and profile.uniqueness > 0.5) or (is_title and profile.distinct > _FEW_VALUES)
    if named or typical >= 6 or (typical >= 2 and various):
        width = next((w for w in _TOKEN_WIDTHS if w >= 1.5 * long), _TOKEN_WIDTHS[-1])
        reason = f"text, typically {typical} words, 95 % have up to {long}{gaps}"
        options: dict[str, Any] = {"max_tokens": width}
        if profile.has_markup:
            reason += "; tags and entities of HTML are taken away"
            options["format"] = "html"
        if profile.has_accents:
            reason += "; accents tell words apart"
            options["keep_accents"] = True
        return "text", reason, options
    if profile.uniqueness > 0.5 and profile.distinct > _FEW_VALUES:
        return None, f"differs in most records{_NOTHING}", {}
    options = {"min_count": 2} if profile.distinct > _MANY_VALUES else {}
    return "categorical", f"{profile.distinct} distinct values{gaps}", options


def _code(profile: Profile, gaps: str) -> tuple[str | None, str, dict[str, Any]]:
    """Codes that come again are categories, whatever they look like; others only identify."""
    what = profile.meaning.name if profile.meaning else "codes"
    if profile.uniqueness > 0.5 and profile.distinct > _FEW_VALUES:
        return None, f"holds {what} that differ in most records{_NOTHING}", {}
    options = {"min_count": 2} if profile.distinct > _MANY_VALUES else {}
    return "categorical", f"{profile.distinct} {what}, which are not quantities{gaps}", options


def _width(most: int) -> int:
    return min(most, 16)
