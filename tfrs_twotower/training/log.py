"""The training log: one JSON object a line, truncated to the checkpoint on resumption."""

import json
import os
from pathlib import Path
from typing import Any


class TrainingLog:
    """Appends to `training_log.jsonl`."""

    def __init__(self, path: Path, position: int = 0) -> None:
        """Opens the log at a byte position; what a killed run wrote after it is cut off.

        Args:
            path: the file; it is made if it is not there.
            position: bytes to keep, as `position` of an earlier object said.
        """
        path.touch()
        self._stream = path.open("r+b")
        self._stream.truncate(position)
        self._stream.seek(0, os.SEEK_END)

    def write(self, entry: dict[str, Any]) -> None:
        """Appends one line."""
        self._stream.write(json.dumps(entry, allow_nan=False).encode() + b"\n")

    def position(self) -> int:
        """Bytes so far, after they are safe on the disk."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return self._stream.tell()

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()
