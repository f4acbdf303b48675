"""Raw features to `tf.train.Example`, with bytes that depend on nothing but the values.

The form of each feature kind is the contract with `tfrs_twotower.data`; a key that begins with
"_" is bookkeeping.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from tensorflow.core.example.example_pb2 import Example

from pipelines.transforms.records import Value
from tfrs_twotower.specs import Feature, NumericFeature, TimestampFeature


def put_value(example: Any, feature: Feature, value: Value) -> None:
    """Sets one feature of an example; `value` is as in `Entity.values`, or a history."""
    slot = example.features.feature[feature.name]
    if isinstance(feature, NumericFeature):
        slot.float_list.value.append(value)
    elif isinstance(feature, TimestampFeature):
        slot.int64_list.value.append(value)
    elif isinstance(value, str):
        slot.bytes_list.value.append(value.encode("utf-8"))
    else:
        slot.bytes_list.value.extend([part.encode("utf-8") for part in value])  # type: ignore[union-attr]
        slot.bytes_list.SetInParent()


def put_values(example: Any, features: Sequence[Feature], values: Sequence[Value]) -> None:
    """Sets the features whose value is known; None is left for the event to give."""
    for feature, value in zip(features, values, strict=True):
        if value is not None:
            put_value(example, feature, value)


def put_texts(example: Any, key: str, texts: Iterable[str]) -> None:
    """Sets a list of strings, possibly empty."""
    slot = example.features.feature[key].bytes_list
    slot.SetInParent()
    slot.value.extend([text.encode("utf-8") for text in texts])


def put_number(example: Any, key: str, number: int) -> None:
    """Sets one integer."""
    example.features.feature[key].int64_list.value.append(number)


def put_floats(example: Any, key: str, numbers: Iterable[float]) -> None:
    """Sets a list of floats, possibly empty."""
    slot = example.features.feature[key].float_list
    slot.SetInParent()
    slot.value.extend(numbers)


def serialise(example: Any) -> bytes:
    """The example's bytes, features in the order of their names."""
    return example.SerializeToString(deterministic=True)


__all__ = [
    "Example",
    "put_floats",
    "put_number",
    "put_texts",
    "put_value",
    "put_values",
    "serialise",
]
