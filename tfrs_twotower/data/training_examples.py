"""Training examples, one for each positive training interaction: raw, and as dense tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.artifacts.layout import TRAIN_GLOB
from tfrs_twotower.data import raw_inputs
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.specs import FeatureSpec

DEFAULT_BATCH_SIZE = 4096


class TrainingBatch(TypedDict):
    """A batch of training examples: the query's raw features, and `[batch]` tensors."""

    query: raw_inputs.RawBatch
    query_id: tf.Tensor
    """Id of the query, string."""
    candidate_id: tf.Tensor
    """Id of the positive candidate, string."""
    timestamp: tf.Tensor
    """Time of the interaction in seconds, int64; 0 in data without time."""
    label: tf.Tensor
    """Label of the interaction, float32."""
    weight: tf.Tensor
    """Weight of the interaction in the loss, float32."""


def parse_training_examples(serialized: tf.Tensor, spec: FeatureSpec) -> TrainingBatch:
    """Parses serialized training examples `[batch]`."""
    bookkeeping: dict[str, Any] = {
        "_query_id": tf.io.FixedLenFeature([], tf.string),
        "_candidate_id": tf.io.FixedLenFeature([], tf.string),
        "_timestamp": tf.io.FixedLenFeature([], tf.int64),
        "_label": tf.io.FixedLenFeature([], tf.float32),
        "_weight": tf.io.FixedLenFeature([], tf.float32),
    }
    features = spec.query.features
    parsed = tf.io.parse_example(serialized, raw_inputs.parse_spec(features) | bookkeeping)
    return {
        "query": raw_inputs.pad_raw(parsed, features),
        "query_id": parsed["_query_id"],
        "candidate_id": parsed["_candidate_id"],
        "timestamp": parsed["_timestamp"],
        "label": parsed["_label"],
        "weight": parsed["_weight"],
    }


def read_training_examples(
    directory: Path,
    spec: FeatureSpec,
    pattern: str = TRAIN_GLOB,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> tf.data.Dataset:
    """Batches of raw training examples (`TrainingBatch`), in shard order; the last may be short.

    Raises:
        MissingArtifact: there is no such file in the directory.
    """
    records = raw_inputs.read_records(directory, pattern).batch(batch_size)
    return records.map(
        # AutoGraph has nothing to convert here, and warns of what it cannot read.
        tf.autograph.experimental.do_not_convert(
            lambda serialized: parse_training_examples(serialized, spec)
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    ).prefetch(1)


@dataclass(frozen=True)
class ExampleTable:
    """Training examples in shard order."""

    tokens: dict[str, npt.NDArray[Any]]
    """Query tokens, `[num_examples]` or `[num_examples, width]`, int32 or float32."""
    query_ids: npt.NDArray[np.object_]
    """`[num_queries]` bytes: the distinct query ids, sorted."""
    query_rows: npt.NDArray[np.int32]
    """`[num_examples]`: position of each example's query in `query_ids`."""
    candidate_rows: npt.NDArray[np.int32]
    """`[num_examples]`: corpus row of the positive candidate."""
    timestamps: npt.NDArray[np.int64]
    """`[num_examples]`: seconds; 0 in data without time."""
    labels: npt.NDArray[np.float32]
    """`[num_examples]`."""
    weights: npt.NDArray[np.float32]
    """`[num_examples]`."""

    def __len__(self) -> int:
        return len(self.candidate_rows)

    @property
    def groups(self) -> None:
        """The examples share no work, so that their order is free."""

    def batch(self, positions: npt.NDArray[np.integer], step: int) -> dict[str, Any]:
        """Tokens, rows and weights of the examples at these positions, for one training step."""
        return {
            "tokens": {name: values[positions] for name, values in self.tokens.items()},
            "query_rows": self.query_rows[positions],
            "candidate_rows": self.candidate_rows[positions],
            "weights": self.weights[positions],
            "step": np.full(len(positions), step, np.int64),
        }

    @property
    def bytes_per_example(self) -> float:
        """Memory of the arrays divided by the number of examples."""
        arrays = [*self.tokens.values(), self.query_rows, self.candidate_rows]
        arrays += [self.timestamps, self.labels, self.weights]
        return sum(array.nbytes for array in arrays) / max(len(self), 1)


def load_example_table(
    directory: Path,
    spec: FeatureSpec,
    corpus: Corpus,
    tokenise: Callable[[raw_inputs.RawBatch], dict[str, tf.Tensor]],
    pattern: str = TRAIN_GLOB,
    *,
    report: Callable[[int], None] | None = None,
) -> ExampleTable:
    """Reads and tokenises all training examples.

    Args:
        directory: directory of a preprocessed artifact.
        spec: the feature spec.
        corpus: the artifact's corpus; gives the candidates' rows.
        tokenise: the query tower's `inputs`.
        pattern: glob of the examples' files; `concatenate` joins the tables of two globs.
        report: called after each batch with the number of examples read so far.

    Raises:
        MissingArtifact: there is no such file in the directory.
        CorruptArtifact: there is no example, or the candidate of one is not in the corpus.
    """
    batches = read_training_examples(directory, spec, pattern, batch_size=DEFAULT_BATCH_SIZE).map(
        tf.autograph.experimental.do_not_convert(
            lambda batch: {**batch, "query": tokenise(batch["query"])}
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    parts: list[dict[str, Any]] = []
    num_read = 0
    for batch in batches.as_numpy_iterator():
        parts.append(batch)
        num_read += len(batch["label"])
        if report is not None:
            report(num_read)
    if not parts:
        raise CorruptArtifact(
            f"{directory}: {pattern} has no training example; preprocess found no positive "
            "interaction in the training window. Look at relevance.min_label and split."
        )
    columns = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "query"
    }
    tokens = {
        name: np.concatenate([part["query"][name] for part in parts]) for name in parts[0]["query"]
    }
    candidate_rows = corpus.row_of(columns["candidate_id"])
    if (candidate_rows < 0).any():
        unknown = columns["candidate_id"][candidate_rows < 0][0].decode(errors="replace")
        raise CorruptArtifact(
            f"{directory}: the candidate {unknown!r} of a training example is not in the corpus. "
            "Run preprocess again."
        )
    query_ids, query_rows = np.unique(columns["query_id"], return_inverse=True)
    return ExampleTable(
        tokens=tokens,
        query_ids=query_ids,
        query_rows=query_rows.astype(np.int32),
        candidate_rows=candidate_rows,
        # Numbers of an order are not seconds: whoever counts days must find none.
        timestamps=columns["timestamp"] * int(spec.interactions.has_times),
        labels=columns["label"],
        weights=columns["weight"],
    )


def concatenate(first: ExampleTable, second: ExampleTable) -> ExampleTable:
    """Appends the second table's examples to the first's, as a refit does with two windows."""
    every_id = np.concatenate(
        [first.query_ids[first.query_rows], second.query_ids[second.query_rows]]
    )
    query_ids, query_rows = np.unique(every_id, return_inverse=True)
    return ExampleTable(
        tokens={
            name: np.concatenate([values, second.tokens[name]])
            for name, values in first.tokens.items()
        },
        query_ids=query_ids,
        query_rows=query_rows.astype(np.int32),
        candidate_rows=np.concatenate([first.candidate_rows, second.candidate_rows]),
        timestamps=np.concatenate([first.timestamps, second.timestamps]),
        labels=np.concatenate([first.labels, second.labels]),
        weights=np.concatenate([first.weights, second.weights]),
    )
