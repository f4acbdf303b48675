"""What a version's signatures take and give, and whether a request's inputs fit them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from serving.bundle.loading import LoadedModel
from serving.bundle.versions import SAVED_MODEL_NAME
from serving.server.limits import MAX_ROWS, MAX_VALUES
from serving.server.refusals import invalid

DEFAULT = "serving_default"


@dataclass(frozen=True)
class Signature:
    """One signature."""

    name: str
    inputs: dict[str, tf.TensorSpec]
    outputs: tuple[str, ...]

    def check_names(self, found: Collection[str]) -> None:
        """Refuses missing and unknown inputs.

        Raises:
            Refusal: the names differ.
        """
        if set(found) == set(self.inputs):
            return
        extra = ",".join(sorted(set(found) - set(self.inputs)))
        missing = ",".join(sorted(set(self.inputs) - set(found)))
        raise invalid(
            f"input size does not match signature: {len(found)}!={len(self.inputs)}. Sent extra: "
            f"{{{extra[:300]}}}. Missing but required: {{{missing}}}."
        )

    def check_shape(self, name: str, shape: Sequence[int]) -> None:
        """Refuses a shape before a tensor is made of it.

        Args:
            name: of the input.
            shape: `[rows, ...]` as the request declares it.

        Raises:
            Refusal: wrong rank or width, no rows, no columns, or too many values.
        """
        expected = self.inputs[name].shape.as_list()
        shown = "[" + ", ".join("n" if size is None else str(size) for size in expected) + "]"
        fits = len(shape) == len(expected) and all(
            size == wanted or (wanted is None and size > 0)
            for size, wanted in zip(shape, expected, strict=True)
        )
        if not fits:
            raise invalid(
                f"input '{name}' has the shape {list(shape[:8])}; expected {shown} with at least "
                "one row and one column."
            )
        if shape[0] > MAX_ROWS:
            raise invalid(f"input '{name}' has {shape[0]} rows; at most {MAX_ROWS} are allowed.")
        if num_values(shape) > MAX_VALUES:
            raise invalid(
                f"input '{name}' has {num_values(shape)} values; at most {MAX_VALUES} are allowed."
            )

    def wanted_outputs(self, output_filter: Sequence[str]) -> tuple[str, ...]:
        """The outputs that a request asks for; all without a filter.

        Raises:
            Refusal: there is no such output, or one is asked for twice.
        """
        if not output_filter:
            return self.outputs
        for name in output_filter:
            if name not in self.outputs:
                raise invalid(
                    f"output tensor alias not found in signature: {name[:100]} Outputs expected "
                    f"to be in the set {{{','.join(self.outputs)}}}."
                )
        if len(set(output_filter)) < len(output_filter):
            raise invalid("duplicate output tensor alias in output_filter.")
        return tuple(output_filter)


def num_values(shape: Iterable[int]) -> int:
    """Product of the sizes, in Python's integers, which do not overflow."""
    count = 1
    for size in shape:
        count *= size
    return count


def read_signature_defs(version_dir: Path) -> dict[str, Any]:
    """The `SignatureDef`s in a SavedModel, by name."""
    saved = saved_model_pb2.SavedModel.FromString((version_dir / SAVED_MODEL_NAME).read_bytes())
    found = {}
    for name, definition in saved.meta_graphs[0].signature_def.items():
        found[name] = type(definition)()
        found[name].CopyFrom(definition)
    return found


def signatures_of(model: LoadedModel, definitions: dict[str, Any]) -> dict[str, Signature]:
    """The signatures that can be called, by name."""
    return {
        name: Signature(name, model.inputs(name), tuple(sorted(definitions[name].outputs)))
        for name in model.model.signatures
    }
