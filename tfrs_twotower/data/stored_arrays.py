"""Reads `.npy` and `.npz` files, whose headers may claim more numbers than the file holds.

NumPy allocates what a header claims before it reads, so a damaged or hostile file of a hundred
bytes would ask for terabytes of memory.
"""

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_BIGGEST_HEADER = 10_000


def load_array(path: Path) -> npt.NDArray[Any]:
    """Reads a `.npy` file.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not such a file, is cut short, or holds objects.
    """
    with path.open("rb") as stream:
        _check_size(stream, path.stat().st_size)
        stream.seek(0)
        array: npt.NDArray[Any] = np.load(stream, allow_pickle=False)
        return array


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Reads all arrays of a `.npz` file by name.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not such a file, is damaged, or holds objects.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            for member in archive.infolist():
                with archive.open(member) as inner:
                    _check_size(inner, member.file_size)
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as cause:
        raise ValueError(str(cause) or "it is cut short") from cause


def _check_size(stream: IO[bytes], size_bytes: int) -> None:
    try:
        version = np.lib.format.read_magic(stream)
        reader = _READERS.get(version, np.lib.format.read_array_header_2_0)
        shape, _, dtype = reader(stream, max_header_size=_BIGGEST_HEADER)
    except EOFError as cause:
        raise ValueError("it is cut short") from cause
    claimed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed > size_bytes - stream.tell():
        raise ValueError(
            f"its header claims {dtype} of shape {shape}, {claimed:,} bytes, and it holds "
            f"{size_bytes - stream.tell():,}"
        )
