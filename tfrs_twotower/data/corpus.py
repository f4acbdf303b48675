"""The corpus: every candidate with its raw features, in the one order that rows refer to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.artifacts.layout import CORPUS_GLOB
from tfrs_twotower.data.raw_inputs import pad_raw, parse_spec, read_records
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.specs import Feature, FeatureSpec, TextFeature

_BATCH_SIZE = 4096


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


@dataclass(frozen=True)
class Corpus:
    """Candidates sorted by the bytes of their ids; a candidate's position is its `row`."""

    ids: npt.NDArray[np.object_]
    """`[num_candidates]` bytes, sorted, distinct."""
    titles: npt.NDArray[np.object_]
    """`[num_candidates]` bytes; b"" where the data has no title."""
    raw: dict[str, npt.NDArray[Any]]
    """Raw features, `[num_candidates]` or `[num_candidates, width]`."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        return {candidate_id: row for row, candidate_id in enumerate(self.ids)}

    def row_of(self, ids: Iterable[bytes | str]) -> npt.NDArray[np.int32]:
        """Rows of candidate ids; -1 for an id that is not in the corpus."""
        rows = self._rows
        encoded = (id_.encode() if isinstance(id_, str) else id_ for id_ in ids)
        return np.fromiter((rows.get(id_, -1) for id_ in encoded), np.int32)

    def take(self, rows: npt.NDArray[np.integer]) -> "Corpus":
        """Some candidates; the rows must ascend."""
        raw = {name: values[rows] for name, values in self.raw.items()}
        return Corpus(self.ids[rows], self.titles[rows], raw)

    def batches(self, batch_size: int) -> Iterable[dict[str, npt.NDArray[Any]]]:
        """Raw features of consecutive rows."""
        for start in range(0, len(self), batch_size):
            yield {name: values[start : start + batch_size] for name, values in self.raw.items()}


def load_corpus(preprocessed_dir: Path, spec: FeatureSpec) -> Corpus:
    """Reads the corpus of a preprocessed artifact.

    Raises:
        MissingArtifact: there are no corpus shards.
        CorruptArtifact: a candidate stands twice, or there is none.
    """
    return parse_corpus(read_records(preprocessed_dir, CORPUS_GLOB), spec, preprocessed_dir)


def parse_corpus(records: tf.data.Dataset, spec: FeatureSpec, where: Path) -> Corpus:
    """A corpus out of serialized candidates.

    Args:
        records: one `tf.train.Example` for each candidate, in any order.
        spec: the feature spec.
        where: they came from, for messages.

    Raises:
        CorruptArtifact: a candidate stands twice, or there is none.
    """
    features = spec.candidate.features
    text = tf.io.FixedLenFeature([], tf.string)
    parse = parse_spec(features) | {"_candidate_id": text, "_title": text}
    batches = []
    for serialized in records.batch(_BATCH_SIZE):
        parsed = tf.io.parse_example(serialized, parse)
        raw = pad_raw(parsed, features)
        raw |= {"_candidate_id": parsed["_candidate_id"], "_title": parsed["_title"]}
        batches.append({name: value.numpy() for name, value in raw.items()})
    if not batches:
        raise CorruptArtifact(f"{where}: the corpus is empty. Run preprocess again.")
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    ids = columns.pop("_candidate_id")
    order = np.argsort(ids, kind="stable")
    _refuse_duplicates(ids[order], where)
    titles = columns.pop("_title")[order]
    return Corpus(ids[order], titles, {name: values[order] for name, values in columns.items()})


def _refuse_duplicates(ids: Sequence[bytes] | npt.NDArray[np.object_], where: Path) -> None:
    for first, second in pairwise(ids):
        if first == second:
            raise CorruptArtifact(
                f"{where}: the candidate {first.decode(errors='replace')!r} stands twice in the "
                "corpus. Run preprocess again."
            )
