"""Scorers of another kind, whose judgement of the lists is distilled."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.closed_form.bm25 import Bm25Index
from tfrs_twotower.closed_form.ease import co_occurrences, ease_weights
from tfrs_twotower.closed_form.interactions import binary_matrix
from tfrs_twotower.data.example_table import ExampleTable


class Teacher(Protocol):
    """Scores candidates of training examples."""

    def __call__(self, examples: slice, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Scores of each example's candidates.

        Args:
            examples: positions in the example table.
            rows: `[batch, n]` corpus rows, each example's positive first; -1 is no candidate.

        Returns:
            `[batch, n]`; any number where there is no candidate.
        """


class EaseTeacher:
    """EASE of the history: the sum of B_ij over its candidates i, each once.

    The example's positive is left out of its history. It can stand there where purchases repeat,
    and would vote as nothing does at serving, where what was seen is not returned.
    """

    def __init__(
        self,
        table: ExampleTable,
        num_candidates: int,
        histories: Sequence[str],
        row_of_token: NDArray[np.int32],
        *,
        l2: float,
    ) -> None:
        """Fits B on the positives of the examples.

        Args:
            table: the training examples.
            num_candidates: size of the corpus.
            histories: names of the history features.
            row_of_token: corpus row of each token of a history; -1 for none.
            l2: weight of the penalty.
        """
        chosen = binary_matrix(
            table.query_rows, table.candidate_rows, len(table.query_ids), num_candidates
        )
        self._weights = ease_weights(co_occurrences(chosen), l2)
        self._table = table
        self._histories = tuple(histories)
        self._row_of_token = row_of_token

    def __call__(self, examples: slice, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """See `Teacher`."""
        tokens = [self._table.tokens[name][examples] for name in self._histories]
        history = np.sort(self._row_of_token[np.concatenate(tokens, axis=1)], axis=1)
        counted = history >= 0
        counted[:, 1:] &= history[:, 1:] != history[:, :-1]
        counted &= history != rows[:, :1]
        # Row -1 reads the last weight, which `counted` and the caller leave out.
        picked = self._weights[history[:, :, None], rows[:, None, :]]
        return np.einsum("bh,bhn->bn", counted.astype(np.float32), picked)


class Bm25Teacher:
    """BM25 of the query's text."""

    def __init__(self, index: Bm25Index, texts: Sequence[str]) -> None:
        """Takes the corpus's index, and the text of each training example's query."""
        self._index = index
        self._texts = texts

    def __call__(self, examples: slice, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """See `Teacher`."""
        texts = np.asarray(self._texts[examples], object)
        distinct, text_of = np.unique(texts, return_inverse=True)
        scores = np.empty(rows.shape, np.float32)
        for place, terms in enumerate(self._index.terms(distinct.tolist())):
            askers = np.flatnonzero(text_of == place)
            scores[askers] = self._index.scores(terms)[rows[askers]]
        return scores
