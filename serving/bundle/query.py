"""Answers one query from a bundle: values as text in, ids, scores and titles out."""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from serving.bundle import versions
from serving.bundle.loading import LoadedBundle, as_text, read_titles
from serving.bundle.refresh_files import RefreshFiles
from serving.graph import names
from tfrs_twotower.data.ids import did_you_mean_id
from tfrs_twotower.data.known_queries import KnownQuery
from tfrs_twotower.errors import BundleError, did_you_mean
from tfrs_twotower.specs import MISSING_TIME, FeatureSpec, TimestampFeature
from tfrs_twotower.tables.times import seconds_of, typed_seconds
from tfrs_twotower.towers.storage import load_spec_of


@dataclass(frozen=True)
class Answer:
    """The candidates of one query, best first, without places that hold no candidate."""

    candidate_ids: list[str]
    scores: list[float]
    titles: list[str]
    """"" where the corpus has no title."""
    model_version: str
    warnings: list[str] = field(default_factory=list)
    """A sentence for each given id that no candidate has."""


def ask(
    bundle: LoadedBundle,
    features: Mapping[str, str],
    k: int | None = None,
    exclude: Sequence[str] = (),
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
    known: KnownQuery | None = None,
) -> Answer:
    """Answers one query that is given as text.

    Args:
        bundle: the loaded bundle.
        features: values by feature name; several values of one feature are separated by `|`, or
            by `,` where there is no `|`. Times are written as in the tables, as ISO 8601 or in
            seconds since 1970. Features that are not given are missing.
        k: length of the answer, at most the bundle's own k, which is the default.
        exclude: candidate ids to leave out.
        allow: tokens `feature=value`: an answered candidate has one of the named values of each
            named feature.
        deny: tokens `feature=value` that no answered candidate has.
        known: a query of the working directory, whose values are those of features that are not
            given; the candidates that it has seen are left out, and its time is now.

    Raises:
        BundleError: an unknown feature, a value of the wrong type, a larger k, restricts that
            the bundle does not support, or a known query that lacks a feature.
    """
    specs = bundle.inputs(names.SERVING_DEFAULT)
    seen = known.seen if known is not None else []
    lists = {names.EXCLUDE_IDS: [*exclude, *seen], names.ALLOW: allow, names.DENY: deny}
    for name in (names.ALLOW, names.DENY):
        if name not in specs and lists.pop(name):
            raise BundleError(
                f"{bundle.directory}: '{name}' was given; this bundle takes no restricts. Name the "
                "candidate features that they speak of in export.restricts and export again."
            )
    for name in lists:
        specs.pop(name)
    for name in features:
        if name not in specs:
            raise BundleError(
                f"{bundle.directory}: there is no query feature '{name}'"
                f"{did_you_mean(name, specs)}; it takes {', '.join(sorted(specs))}."
            )
    _check_k(bundle, k)
    spec = _spec_of(bundle)
    units = {} if spec is None else _time_units(spec)
    inputs: dict[str, Any] = {
        name: _known_values(bundle, name, taken, known)
        if known is not None and name not in features
        else _typed_values(name, taken, features.get(name), units.get(name))
        for name, taken in specs.items()
    }
    titles = bundle.titles()
    known_ids = _ids_of_all_shards(bundle, titles)
    warnings = unknown_ids(exclude, known_ids, "leaves nothing out")
    for history in () if spec is None else spec.histories:
        if history.name in features:
            given = [id_ for id_ in inputs[history.name][0] if id_]
            warnings += unknown_ids(given, known_ids, f"counts for nothing in {history.name}")
    inputs |= {name: [["", *values]] for name, values in lists.items()}
    outputs = bundle.call(names.SERVING_DEFAULT, inputs)
    candidate_ids = [name for name in as_text(outputs[names.CANDIDATE_IDS][0]) if name]
    candidate_ids = candidate_ids[:k]
    return Answer(
        candidate_ids=candidate_ids,
        scores=[float(score) for score in outputs[names.SCORES][0][: len(candidate_ids)]],
        titles=[titles.get(name, "") for name in candidate_ids],
        model_version=as_text(outputs[names.MODEL_VERSION])[0],
        warnings=warnings,
    )


def unknown_ids(ids: Sequence[str], known: Collection[str], effect: str) -> list[str]:
    """A sentence for each id that no candidate has; ids that were typed are few.

    Args:
        ids: that a user gave.
        known: all ids of the corpus.
        effect: of an unknown one, such as `leaves nothing out`.
    """
    return [
        f"{id_} is not in the corpus{did_you_mean_id(id_, known)}: it {effect}."
        for id_ in ids
        if id_ not in known
    ]


def _check_k(bundle: LoadedBundle, k: int | None) -> None:
    longest = int(bundle.manifest.counts["k"])
    if k is not None and not 1 <= k <= longest:
        is_whole_corpus = longest == int(bundle.manifest.counts["candidates"])
        raise BundleError(
            f"{bundle.directory}: k={k} was requested; this bundle answers with 1 to {longest} "
            + (
                "candidates, which is the whole corpus."
                if is_whole_corpus
                else "candidates. Raise export.k and export again for longer lists."
            )
        )


def _ids_of_all_shards(bundle: LoadedBundle, own: Collection[str]) -> Collection[str]:
    """Ids of the corpus: another shard than the one that is asked may have an id."""
    with suppress(BundleError):  # the other shards are not here
        shards = versions.find_shards(bundle.directory.parent)
        if len(shards) > 1:
            return {id_ for path in shards for id_ in read_titles(versions.resolve_version(path))}
    return own


def _spec_of(bundle: LoadedBundle) -> FeatureSpec | None:
    """The feature spec that a bundle was exported with; None if its towers were made elsewhere."""
    files = RefreshFiles(bundle.directory)
    return load_spec_of(files.towers_dir)[0] if files.exist() else None


def _time_units(spec: FeatureSpec) -> dict[str, str]:
    """The unit in which the tables write each time of a query."""
    event_time = spec.interactions.timestamp
    return {
        feature.name: event_time.unit
        if feature.column is None and event_time is not None
        else feature.unit
        for feature in spec.query.features
        if isinstance(feature, TimestampFeature)
    }


def _known_values(
    bundle: LoadedBundle, name: str, taken: tf.TensorSpec, known: KnownQuery
) -> list[Any]:
    """One row of a feature of a known query; an event's own time is now."""
    if name not in known.values:
        raise BundleError(
            f"{bundle.directory}: takes the query feature '{name}', which the working directory "
            f"does not have of query {known.query_id!r}: it was preprocessed with another feature "
            f"spec. Export again, name another --workdir, or give --set {name}=VALUE."
        )
    value = known.values[name]
    if taken.shape.rank == 2:
        width = int(taken.shape[1])
        return [([*(value or ()), *[""] * width])[:width]]
    return [int(time.time()) if value is None and taken.dtype.is_integer else value]


def _typed_values(name: str, taken: tf.TensorSpec, text: str | None, unit: str | None) -> list[Any]:
    """Converts text to one row of a feature, with the type and width of its input.

    Args:
        name: of the feature.
        taken: its input.
        text: what was typed; None if nothing was.
        unit: in which the tables write it, if it is a time.
    """
    width = None if taken.shape.rank == 1 else int(taken.shape[1])
    if taken.dtype == tf.string:
        if width is None:
            return [text or ""]
        separator = "|" if "|" in (text or "") else ","
        words = [value.strip() for value in (text or "").split(separator) if value.strip()]
        return [(words + [""] * width)[:width]]
    missing = MISSING_TIME if taken.dtype.is_integer else float("nan")
    if text is None or not text.strip():
        return [missing] if width is None else [[missing] * width]
    parts = [text] if width is None else re.split("[|,]", text)
    try:
        numbers = [
            _integer(part, unit) if taken.dtype.is_integer else float(part) for part in parts
        ]
    except ValueError as cause:
        reason = f" ({cause})" if unit is not None else ""
        raise BundleError(_not_this(name, text, taken, width) + reason) from None
    if len(numbers) != (width or 1):
        raise BundleError(_not_this(name, text, taken, width))
    return numbers if width is None else [numbers]


def _integer(text: str, unit: str | None) -> int:
    if unit is not None:
        seconds = typed_seconds(text, unit)
        return MISSING_TIME if seconds is None else seconds
    try:
        return int(text)
    except ValueError:
        seconds = seconds_of(text, "iso")
    if seconds is None:
        raise ValueError("missing")
    return seconds


def _not_this(name: str, text: str, taken: tf.TensorSpec, width: int | None) -> str:
    scalar = "a number"
    if taken.dtype.is_integer:
        scalar = (
            "an integer (a time in seconds since 1970), or a time as the tables write it or as "
            "ISO 8601, such as 2026-11-26T18:30:00"
        )
    expected = scalar if width is None else f"{width} numbers separated by ','"
    return f"feature '{name}': found '{text[:80]}', expected {expected}."
