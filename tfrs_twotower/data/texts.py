"""The text of a record: all its text features, joined."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from tfrs_twotower.specs import Feature, TextFeature


def joined_texts(
    raw: Mapping[str, NDArray[Any]], features: tuple[Feature, ...]
) -> list[str] | None:
    """The values of the text features of each record, in the spec's order; None without any.

    Args:
        raw: raw features by name, `[num_records]` bytes each.
        features: of the side that the records are of.
    """
    names = [feature.name for feature in features if isinstance(feature, TextFeature)]
    if not names:
        return None
    columns = [raw[name] for name in names]
    return [
        " ".join(value.decode() for value in values if value)
        for values in zip(*columns, strict=True)
    ]
