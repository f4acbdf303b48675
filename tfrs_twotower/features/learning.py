"""Vocabularies and statistics of features from a sample in memory.

They serve towers that are built without tables; preprocessing learns the same from whole tables.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower import specs
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.lines import check_lines
from tfrs_twotower.documents import user_path
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.features import wordpiece_list

Sample = Mapping[str, Any]
"""Array-like values by feature."""


def learn_assets(
    declared: specs.FeatureDeclarations, *, query: Sample, candidate: Sample, root: Path = Path()
) -> Assets:
    """Learns what towers need besides weights.

    Give training data only: a vocabulary or a mean is learned from data, as a weight is. A value
    counts once for each record that holds it; an empty value is missing and does not count.

    Args:
        declared: the features of both sides.
        query: raw features of queries by name, `[num_records]` or `[num_records, width]`.
        candidate: raw features of candidates, in the same form.
        root: directory where relative `vocabulary_file`s start.

    Returns:
        Vocabularies, most frequent value first, ties by value; WordPieces; means, deviations and
        quantile boundaries of numbers.

    Raises:
        FeatureSpecError: a sample lacks a feature, or a given vocabulary cannot be read.
        DataError: an id or a category has a line break or another control character.
    """
    values: dict[str, Counter[str]] = {}
    words: dict[str, Counter[str]] = {}
    settings: dict[str, specs.Feature] = {}
    numeric: dict[str, dict[str, Any]] = {}
    for side, features, sample in (
        ("query", declared.query.features, query),
        ("candidate", declared.candidate.features, candidate),
    ):
        for feature in features:
            match feature:
                case (
                    specs.IdFeature() | specs.CategoricalFeature() | specs.MultiCategoricalFeature()
                ):
                    if feature.hash_buckets is None:
                        name = feature.vocabulary_name
                        settings[name] = feature
                        counts = values.setdefault(name, Counter())
                        counts.update(_texts(_column(sample, side, feature)))
                case specs.TextFeature(checkpoint=None):
                    name = feature.vocabulary_name
                    settings[name] = feature
                    counts = words.setdefault(name, Counter())
                    if feature.vocabulary_file is None:
                        texts = list(_texts(_column(sample, side, feature)))
                        counts.update(_words(texts, feature))
                case specs.NumericFeature():
                    numbers = _column(sample, side, feature).astype(np.float64)
                    numeric[f"{side}.{feature.name}"] = _statistics(numbers, feature)
                case _:
                    pass  # histories share the candidate's ids; times and checkpoints learn nothing
    for name, counts in values.items():
        check_lines(counts, f"vocabulary '{name}'")
    vocabularies = {name: _largest(counts, settings[name]) for name, counts in values.items()}
    for name, counts in words.items():
        vocabularies[name] = _pieces(counts, settings[name], root)
    return Assets(vocabularies, {"numeric": numeric})


def quantile_boundaries(values: Sequence[float], num_buckets: int) -> list[float]:
    """The `num_buckets - 1` inner quantiles, interpolated linearly; zeros without values."""
    shares = np.arange(1, num_buckets) / num_buckets
    if not values:
        return [0.0] * (num_buckets - 1)
    return [float(q) for q in np.quantile(np.sort(np.asarray(values)), shares)]


def _column(sample: Sample, side: str, feature: specs.Feature) -> NDArray[Any]:
    if feature.name not in sample:
        raise FeatureSpecError(
            f"the {side} sample lacks '{feature.name}'; found "
            f"{', '.join(sorted(sample)) or 'none'}. Give every feature that a vocabulary or "
            "statistics are learned for."
        )
    return np.asarray(sample[feature.name])


def _texts(column: NDArray[Any]) -> Iterator[str]:
    for value in column.reshape(-1).tolist():
        text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
        if text:
            yield text


def _words(texts: Sequence[str], feature: specs.TextFeature) -> Counter[str]:
    return wordpiece_list.count_words(texts, wordpiece_list.Letters.of(feature))


def _largest(counts: Counter[str], feature: Any) -> list[str]:
    kept = [(-count, value) for value, count in counts.items() if count >= feature.min_count]
    return [value for _, value in sorted(kept)[: feature.max_size]]


def _pieces(counts: Counter[str], feature: Any, root: Path) -> list[str]:
    if feature.vocabulary_file is not None:
        return wordpiece_list.read_wordpieces(user_path(feature.vocabulary_file, root))
    return wordpiece_list.learn_wordpieces(list(counts.items()), feature.vocabulary_size)


def _statistics(numbers: NDArray[Any], feature: specs.NumericFeature) -> dict[str, Any]:
    present = numbers[~np.isnan(numbers)]
    scaled = np.log1p(np.maximum(present, 0.0)) if feature.transform == "log" else present
    statistics: dict[str, Any] = {
        "mean": float(scaled.mean()) if len(scaled) else 0.0,
        "std": float(scaled.std()) if len(scaled) else 0.0,
    }
    if feature.transform == "bucketise":
        boundaries = quantile_boundaries(present.tolist(), feature.num_buckets)
        statistics["boundaries"] = boundaries
    return statistics
