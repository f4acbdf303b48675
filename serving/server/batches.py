"""Puts requests together into one batch of arrays, as TensorFlow Serving does, and apart again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


def widths_of(inputs: Arrays) -> tuple[tuple[int, ...], ...]:
    """The sizes behind the rows, input by input in order of their names."""
    return tuple(inputs[name].shape[1:] for name in sorted(inputs))


def longest_of(inputs: Arrays) -> int:
    """Bytes of the longest element of any input, at least those of a number."""
    strings = [values.reshape(-1) for values in inputs.values() if values.dtype == object]
    return max([8, *(max(map(len, each.tolist())) for each in strings)])


def join(requests: Sequence[Arrays], num_rows: int) -> dict[str, npt.NDArray[Any]]:
    """One batch of several requests.

    Where widths differ, a request is padded with the first element of its own tensor. Rows that
    are still missing repeat the first row of the last request.

    Args:
        requests: inputs `[rows, ...]` with the same names, types and ranks.
        num_rows: of the batch, at least the sum of the requests'.
    """
    return {name: _join([inputs[name] for inputs in requests], num_rows) for name in requests[0]}


def split(outputs: Arrays, rows: Sequence[int]) -> list[dict[str, npt.NDArray[Any]]]:
    """Each request's rows of a batch's outputs; rows beyond them are dropped.

    Args:
        outputs: `[at least sum(rows), ...]`.
        rows: of each request.
    """
    ends = np.cumsum(rows)
    return [
        {name: values[end - count : end] for name, values in outputs.items()}
        for end, count in zip(ends.tolist(), rows, strict=True)
    ]


def _join(tensors: list[npt.NDArray[Any]], num_rows: int) -> npt.NDArray[Any]:
    shapes = [tensor.shape[1:] for tensor in tensors]
    widest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    padded = [tensor if tensor.shape[1:] == widest else _pad(tensor, widest) for tensor in tensors]
    missing = num_rows - sum(len(tensor) for tensor in padded)
    if missing:
        padded.append(np.repeat(padded[-1][:1], missing, axis=0))
    return padded[0] if len(padded) == 1 else np.concatenate(padded)


def _pad(tensor: npt.NDArray[Any], widths: tuple[int, ...]) -> npt.NDArray[Any]:
    wide = np.full((len(tensor), *widths), tensor.reshape(-1)[0], tensor.dtype)
    wide[tuple(slice(size) for size in tensor.shape)] = tensor
    return wide
