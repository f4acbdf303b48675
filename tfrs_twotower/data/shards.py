"""Finding the shards of one kind of records, in the order in which everything reads them."""

import re
from pathlib import Path

import tensorflow as tf

from tfrs_twotower.errors import CorruptArtifact, MissingArtifact

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.")


def find_shards(directory: Path, pattern: str) -> list[Path]:
    """Paths of all shards that match the pattern, by name.

    Raises:
        MissingArtifact: there is none.
        CorruptArtifact: the set has holes.
    """
    paths = sorted(directory.glob(pattern))
    if not paths:
        raise MissingArtifact(
            f"{directory}: there is no file {pattern}; run the stage that writes it."
        )
    numbers = [_SHARD.search(path.name) for path in paths]
    found = [(int(n[1]), int(n[2])) for n in numbers if n is not None]
    if found != [(shard, len(paths)) for shard in range(len(paths))]:
        raise CorruptArtifact(
            f"{directory}: the shards {pattern} are not complete: found "
            f"{', '.join(path.name for path in paths)}. Run the stage that writes them again."
        )
    return paths


def read_records(directory: Path, pattern: str) -> tf.data.Dataset:
    """Serialized records of all shards, in shard order then record order."""
    paths = [str(path) for path in find_shards(directory, pattern)]
    return tf.data.TFRecordDataset(paths, compression_type="GZIP", buffer_size=1 << 20)
