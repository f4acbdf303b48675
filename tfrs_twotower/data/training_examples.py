"""Training examples as tokens, one for each positive training interaction.

What a query or its events have once is held once: an example takes 32 bytes at most, and 4 to 8 for
each event of a history, whatever the width of its tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower import specs
from tfrs_twotower.artifacts.layout import TRAIN_GLOB
from tfrs_twotower.data import example_shards, stored_examples
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.histories import Histories, joined
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.ranking.ragged import Ragged, distinct_pairs

_TOKENISED_AT_ONCE = 1 << 16


class Tokeniser(Protocol):
    """The inputs of a query tower, as `features.tower_inputs` makes them."""

    features: Sequence[specs.Feature]

    def tokenise(self, feature: specs.Feature, values: tf.Tensor) -> tf.Tensor:
        """Tokens of the raw values of one feature."""


@dataclass(frozen=True)
class OfQueries:
    """A feature that each query has once; `self[positions]` gives those of some examples.

    Attributes:
        values: `[num_queries, ...]` tokens.
        rows: `[num_examples]` query of each example.
    """

    values: npt.NDArray[Any]
    rows: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tokens of all examples."""
        return (len(self.rows), *self.values.shape[1:])

    @property
    def nbytes(self) -> int:
        """Memory of the array; the rows are those of the table."""
        return int(self.values.nbytes)

    def __getitem__(self, positions: slice | npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Tokens `[len(positions), ...]`."""
        found: npt.NDArray[Any] = self.values[self.rows[positions]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Tokens of all examples, written out."""
        del copy
        return self[:].astype(dtype or self.values.dtype, copy=False)


Tokens = npt.NDArray[Any] | OfQueries | Histories
"""Tokens of all examples: an array, or what is written out for the examples of a batch."""


@dataclass(frozen=True)
class ExampleTable:
    """Training examples in the order of their shards and their places there.

    What queries and histories have in common is stored once; `tokens[name][positions]` writes out
    the tokens of some examples, `[len(positions)]` or `[len(positions), width]`.
    """

    tokens: dict[str, Tokens]
    """Query tokens by feature, int32 or float32."""
    query_ids: Any
    """`[num_queries]` strings: the distinct query ids, sorted (an Arrow array)."""
    query_rows: npt.NDArray[np.int32]
    """`[num_examples]`: position of each example's query in `query_ids`."""
    candidate_rows: npt.NDArray[np.int32]
    """`[num_examples]`: corpus row of the positive candidate."""
    timestamps: npt.NDArray[np.int64]
    """`[num_examples]`: seconds; 0 in data without time."""
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

    def known_positives(self, num_candidates: int) -> Ragged:
        """The corpus rows of all positives of each query, ascending, by position in `query_ids`."""
        return Ragged(
            *distinct_pairs(
                self.query_rows,
                self.candidate_rows,
                num_queries=len(self.query_ids),
                num_candidates=num_candidates,
            )
        )

    def with_histories_of(self, longest: int | None) -> "ExampleTable":
        """The same examples, their histories of at most so many events; None changes nothing."""
        if longest is None:
            return self
        tokens = {
            name: replace(values, width=min(values.width, longest))
            if isinstance(values, Histories)
            else values
            for name, values in self.tokens.items()
        }
        return replace(self, tokens=tokens)

    @property
    def bytes_per_example(self) -> float:
        """Memory of the arrays divided by the number of examples."""
        arrays = [*self.tokens.values(), self.query_rows, self.candidate_rows]
        arrays += [self.timestamps, self.weights]
        return sum(array.nbytes for array in arrays) / max(len(self), 1)


def load_example_table(
    directory: Path,
    spec: specs.FeatureSpec,
    corpus: Corpus,
    tokeniser: Tokeniser,
    pattern: str = TRAIN_GLOB,
    *,
    report: Callable[[int], None] | None = None,
) -> ExampleTable:
    """Reads and tokenises all training examples.

    Args:
        directory: directory of a preprocessed artifact.
        spec: the feature spec.
        corpus: the artifact's corpus; gives the candidates' rows.
        tokeniser: the query tower's `inputs`; only its features are tokenised.
        pattern: glob of the examples' files; `concatenate` joins the tables of two globs.
        report: called after each shard with the number of examples read so far.

    Raises:
        MissingArtifact: there is no such file in the directory.
        CorruptArtifact: a file cannot be read, there is no example, or a candidate of one is not in
            the corpus.
    """
    found = stored_examples.open_shards(directory, spec, pattern)
    bounds = np.cumsum([0, *map(len, found)])
    if not bounds[-1]:
        raise CorruptArtifact(
            f"{directory}: {pattern} has no training example; preprocess found no positive "
            "interaction in the training window. Look at relevance.min_label and split."
        )
    query_ids, rows_of_shards = example_shards.ranked(*(shard.ids for shard in found))
    query_rows = np.concatenate(rows_of_shards).astype(np.int32)
    columns = _Columns(int(bounds[-1]))
    rules = example_shards.rules(spec.query.features)
    events: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in rules}
    first_query, first_event = 0, dict.fromkeys(rules, 0)
    for first, shard in zip(bounds, found, strict=False):
        at, of_query = first + shard.example_values("place"), shard.owners
        columns.put("query", at, query_rows[first_query + of_query])
        columns.put("candidate", at, _known_rows(corpus, shard.chosen(), directory))
        columns.put("timestamp", at, shard.example_values("timestamp"))
        columns.put("weight", at, shard.example_values("weight"))
        for rule in rules:
            begins = first_event[rule] + shard.first_events(rule).astype(np.int64)
            columns.put(f"end:{rule}", at, begins[of_query] + shard.example_values(f"end:{rule}"))
            columns.put(f"length:{rule}", at, shard.example_values(f"length:{rule}"))
            events[rule].append(_known_rows(corpus, shard.events(rule), directory))
            first_event[rule] += len(events[rule][-1])
        first_query += len(shard.ids)
        if report is not None:
            report(int(first) + len(shard))
    chosen, owners = columns["candidate"], columns["query"]
    # Numbers of an order are not seconds: whoever counts days must find none.
    has_times = spec.interactions.has_times
    timestamps = columns["timestamp"] if has_times else np.zeros_like(columns["timestamp"])
    tokens: dict[str, Tokens] = {}
    for feature in tokeniser.features:
        if isinstance(feature, specs.HistoryFeature):
            rule = next(name for name, histories in rules.items() if feature in histories)
            until_repeat = np.concatenate([shard.until_repeat(rule) for shard in found])
            tokens[feature.name] = Histories(
                np.concatenate(events[rule]),
                until_repeat if until_repeat.any() else None,
                _narrow(columns[f"end:{rule}"], np.int32),
                _narrow(columns[f"length:{rule}"], np.uint8),
                chosen if feature.window == "leave_one_out" else None,
                _tokens(tokeniser, feature, pa.chunked_array([corpus.ids], pa.string())),
                feature.max_length,
            )
        elif example_shards.has_time_of_event(feature):
            times = timestamps if has_times else np.full_like(timestamps, specs.MISSING_TIME)
            tokens[feature.name] = _tokens(tokeniser, feature, times)
        else:
            static = pa.chunked_array([shard.static(feature.name) for shard in found])
            of_queries = _tokens(tokeniser, feature, static)
            by_row = np.empty_like(of_queries)
            by_row[query_rows] = of_queries
            tokens[feature.name] = OfQueries(by_row, owners)
    return ExampleTable(tokens, query_ids, owners, chosen, timestamps, columns["weight"])


class _Columns(dict[str, npt.NDArray[Any]]):
    """Arrays of all examples, which are filled one shard after the other."""

    def __init__(self, num_examples: int) -> None:
        super().__init__()
        self._num_examples = num_examples

    def put(self, name: str, at: npt.NDArray[np.integer], values: npt.NDArray[Any]) -> None:
        """Writes the values of a shard to the places of its examples."""
        if name not in self:
            self[name] = np.empty(self._num_examples, values.dtype)
        self[name][at] = values


def _known_rows(
    corpus: Corpus, candidates: tuple[npt.NDArray[np.int32], pa.Array], directory: Path
) -> npt.NDArray[np.int32]:
    codes, ids = candidates
    rows = corpus.row_of(ids)
    if (rows < 0).any():
        raise CorruptArtifact(
            f"{directory}: the candidate {ids[int(rows.argmin())].as_py()!r} of a training example "
            "or its history is not in the corpus. Run preprocess again."
        )
    return rows[codes]


def _narrow(values: npt.NDArray[Any], smallest: type[np.integer]) -> npt.NDArray[Any]:
    """The same numbers, of 0 and more, in fewer bytes where they fit."""
    kinds = (smallest, np.uint16, np.int32) if smallest is np.uint8 else (smallest,)
    most = int(values.max(initial=0))
    fitting = [kind for kind in kinds if most <= np.iinfo(kind).max]
    return values.astype(fitting[0]) if fitting else values


def _tokens(tokeniser: Tokeniser, feature: specs.Feature, values: Any) -> npt.NDArray[Any]:
    """Tokens of a feature's values: an array, or strings or lists of Arrow."""
    parts = []
    for start in range(0, len(values), _TOKENISED_AT_ONCE):
        part = values[start : start + _TOKENISED_AT_ONCE]
        if not isinstance(part, np.ndarray):
            part = stored_examples.raw_values(part.combine_chunks(), feature)
        if isinstance(feature, specs.HistoryFeature):  # the tokens of single candidates
            parts.append(tokeniser.tokenise(feature, tf.constant(part[:, None])).numpy()[:, 0])
        else:
            parts.append(tokeniser.tokenise(feature, tf.constant(part)).numpy())
    return np.concatenate(parts)


def concatenate(first: ExampleTable, second: ExampleTable) -> ExampleTable:
    """Appends the second table's examples to the first's, as a refit does with two windows."""
    query_ids, rows = example_shards.ranked(first.query_ids, second.query_ids)
    of_first, of_second = (one.astype(np.int32) for one in rows)
    query_rows = np.concatenate([of_first[first.query_rows], of_second[second.query_rows]])
    tokens: dict[str, Tokens] = {}
    for name, values in first.tokens.items():
        added = second.tokens[name]
        if isinstance(values, Histories) and isinstance(added, Histories):
            tokens[name] = joined(values, added)
        elif isinstance(values, OfQueries) and isinstance(added, OfQueries):
            both = np.empty((len(query_ids), *values.shape[1:]), values.values.dtype)
            both[of_second], both[of_first] = added.values, values.values
            tokens[name] = OfQueries(both, query_rows)
        else:
            tokens[name] = np.concatenate([values[:], added[:]])
    return ExampleTable(
        tokens,
        query_ids,
        query_rows,
        np.concatenate([first.candidate_rows, second.candidate_rows]),
        np.concatenate([first.timestamps, second.timestamps]),
        np.concatenate([first.weights, second.weights]),
    )
