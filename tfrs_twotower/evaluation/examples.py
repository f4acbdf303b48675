"""Single queries in words: what they chose before, what each system returned, what was true."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.inputs import TEST, EvaluationInputs
from tfrs_twotower.evaluation.systems import SystemRun

_LIST_LENGTH = 10
_TITLE_LENGTH = 110


@dataclass(frozen=True)
class Listed:
    """One candidate in a list, by its title."""

    title: str
    relevant: bool


@dataclass(frozen=True)
class Example:
    """One query in words.

    Attributes:
        query_id: its id.
        text: the query's text; "" where it has none.
        history: titles of its latest earlier events, most recent first.
        num_events: how many earlier events there are.
        lists: what each system returned, best first.
        truth: titles of what was relevant, the largest gain first.
        num_relevant: how many relevant candidates there are.
    """

    query_id: str
    text: str
    history: list[str]
    num_events: int
    lists: dict[str, list[Listed]]
    truth: list[Listed]
    num_relevant: int


def shorten(text: str, length: int = _TITLE_LENGTH) -> str:
    """The text on one line, cut after a word with an ellipsis: titles may be whole passages."""
    words = " ".join(text.split())
    if len(words) <= length:
        return words
    cut = words[: length + 1].rpartition(" ")[0]
    return (cut or words[:length]).rstrip(" ,;:.") + "…"


def history_rows(inputs: EvaluationInputs, query: int, limit: int) -> list[int]:
    """Corpus rows of a test query's latest distinct earlier candidates, most recent first."""
    log = inputs.log
    code = int(log.codes_of([inputs.test.ids[query]])[0])
    if code < 0:
        return []
    events = np.flatnonzero((log.query == code) & (log.split != TEST))
    events = events[np.argsort(-log.timestamp[events], kind="stable")]
    rows = list(dict.fromkeys(int(row) for row in log.candidate[events]))
    return rows[:limit]


def choose_queries(runs: Sequence[SystemRun], count: int, seed: int) -> NDArray[np.int64]:
    """Positions of example queries: a random sample, so that they are not the lucky ones."""
    num_queries = len(runs[0].ranked)
    generator = np.random.default_rng(seed)
    return np.sort(generator.choice(num_queries, min(count, num_queries), replace=False))


def make_example(
    inputs: EvaluationInputs,
    ranked: dict[str, NDArray[np.int64]],
    query: int,
    length: int = _LIST_LENGTH,
) -> Example:
    """One test query in words.

    Args:
        inputs: corpus, interactions, queries.
        ranked: `[num_queries, K]` rows of each system that is shown.
        query: position among the test queries.
        length: titles shown in each list.
    """
    test, corpus = inputs.test, inputs.corpus
    relevant = test.truth.relevant[query]
    start = test.truth.relevant.offsets[query]
    gains = test.truth.gains[start : start + len(relevant)]
    true_rows = {int(row) for row in relevant}
    found = {
        int(row)
        for rows in ranked.values()
        for row in rows[query, :length]
        if int(row) in true_rows
    }
    by_gain = [int(row) for row in relevant[np.argsort(-gains, kind="stable")]]
    by_gain.sort(key=lambda row: row not in found)
    return Example(
        query_id=test.ids[query],
        text=shorten(test.texts[query], 2 * _TITLE_LENGTH) if test.texts is not None else "",
        history=[shorten(corpus.name(row)) for row in history_rows(inputs, query, length)],
        num_events=int(test.num_events[query]),
        lists={
            name: [
                Listed(shorten(corpus.name(int(row))), int(row) in true_rows)
                for row in rows[query, :length]
                if row >= 0
            ]
            for name, rows in ranked.items()
        },
        truth=[Listed(shorten(corpus.name(row)), row in found) for row in by_gain[:length]],
        num_relevant=len(relevant),
    )
