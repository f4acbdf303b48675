"""Answers one query from a bundle: values as text in, ids, scores and titles out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from serving.bundle.loading import LoadedBundle, as_text
from serving.graph import names
from tfrs_twotower.errors import BundleError, did_you_mean
from tfrs_twotower.specs import MISSING_TIME


@dataclass(frozen=True)
class Answer:
    """The candidates of one query, best first, without places that hold no candidate."""

    candidate_ids: list[str]
    scores: list[float]
    titles: list[str]
    """"" where the corpus has no title."""
    model_version: str


def ask(
    bundle: LoadedBundle,
    features: Mapping[str, str],
    k: int | None = None,
    exclude: Sequence[str] = (),
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
) -> Answer:
    """Answers one query that is given as text.

    Args:
        bundle: the loaded bundle.
        features: values by feature name; several values of one feature are separated by `|`, or
            by `,` where there is no `|`. Features that are not given are missing.
        k: length of the answer, at most the bundle's own k, which is the default.
        exclude: candidate ids to leave out.
        allow: tokens `feature=value`: an answered candidate has one of the named values of each
            named feature.
        deny: tokens `feature=value` that no answered candidate has.

    Raises:
        BundleError: an unknown feature, a value of the wrong type, a larger k, or restricts that
            the bundle does not support.
    """
    specs = bundle.inputs(names.SERVING_DEFAULT)
    lists = {names.EXCLUDE_IDS: exclude, names.ALLOW: allow, names.DENY: deny}
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
    inputs: dict[str, Any] = {
        name: _values(name, spec, features.get(name)) for name, spec in specs.items()
    }
    inputs |= {name: [["", *values]] for name, values in lists.items()}
    outputs = bundle.call(names.SERVING_DEFAULT, inputs)
    candidate_ids = [name for name in as_text(outputs[names.CANDIDATE_IDS][0]) if name]
    candidate_ids = candidate_ids[:k]
    titles = bundle.titles()
    return Answer(
        candidate_ids=candidate_ids,
        scores=[float(score) for score in outputs[names.SCORES][0][: len(candidate_ids)]],
        titles=[titles.get(name, "") for name in candidate_ids],
        model_version=as_text(outputs[names.MODEL_VERSION])[0],
    )


def _values(name: str, spec: tf.TensorSpec, text: str | None) -> list[Any]:
    """Converts text to one row of a feature, with the type and width of its input."""
    width = None if spec.shape.rank == 1 else int(spec.shape[1])
    if spec.dtype == tf.string:
        if width is None:
            return [text or ""]
        separator = "|" if "|" in (text or "") else ","
        words = [value.strip() for value in (text or "").split(separator) if value.strip()]
        return [(words + [""] * width)[:width]]
    kind, missing = (int, MISSING_TIME) if spec.dtype.is_integer else (float, float("nan"))
    if text is None or not text.strip():
        return [missing] if width is None else [[missing] * width]
    try:
        numbers = [kind(part) for part in ([text] if width is None else re.split("[|,]", text))]
    except ValueError:
        numbers = []
    if len(numbers) != (width or 1):
        scalar = "a number" if kind is float else "an integer (a time in seconds since 1970)"
        expected = scalar if width is None else f"{width} numbers separated by ','"
        raise BundleError(f"feature '{name}': found '{text[:80]}', expected {expected}.")
    return numbers if width is None else [numbers]
