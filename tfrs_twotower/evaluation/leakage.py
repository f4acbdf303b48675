"""Whether the evaluation can be believed: signs that training saw what the test asks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.inputs import TEST, TRAIN, EvaluationInputs
from tfrs_twotower.ranking.ragged import Ragged


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: its name.
        count: how many cases it found.
        leak: whether a single case makes the evaluation unbelievable (others are only noted).
        message: what the cases are and what to do.
    """

    check: str
    count: int
    leak: bool
    message: str


def check_leakage(inputs: EvaluationInputs) -> dict[str, Any]:
    """Runs every check that the data allows.

    Returns:
        `verdict` (`leaky` if a check that proves a leak found a case, else `clean`), `findings`
        (the checks that found something), `passed` (names of those that found nothing).
    """
    results = [*_time(inputs), *_pairs(inputs), *_texts(inputs), *_learned(inputs)]
    findings = [finding for finding in results if finding.count > 0]
    return {
        "verdict": "leaky" if any(finding.leak for finding in findings) else "clean",
        "findings": [vars(finding) for finding in findings],
        "passed": [finding.check for finding in results if finding.count == 0],
    }


def _time(inputs: EvaluationInputs) -> Iterator[Finding]:
    log, kind = inputs.log, inputs.split.kind
    timed = log.timestamp > 0
    train, test = timed & (log.split == TRAIN), timed & (log.split == TEST)
    if not (train.any() and test.any()):
        return
    if kind == "temporal":
        start = int(log.timestamp[test].min())
        yield Finding(
            "training_after_test_begins",
            int((log.timestamp[train] >= start).sum()),
            not inputs.split.sessions,
            "training interactions are not older than the first test interaction"
            + (" (sessions are kept whole, which allows some)" if inputs.split.sessions else ""),
        )
    size = max(len(log.query_ids), 1)
    first_test = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(first_test, log.query[test], log.timestamp[test])
    earlier = timed & (log.split != TEST)
    late = earlier & (log.timestamp > first_test[log.query])
    yield Finding(
        "query_order",
        len(np.unique(log.query[late])),
        kind in ("temporal", "per_query_last") and not inputs.split.sessions,
        "queries have training or validation interactions after their own test interactions",
    )


def _pairs(inputs: EvaluationInputs) -> Iterator[Finding]:
    log, test = inputs.log, inputs.test
    span = len(inputs.corpus)
    relevant = _keys(test.truth.relevant, span)
    seen = _keys(test.seen, span)
    yield Finding(
        "relevant_is_left_out",
        int(np.isin(relevant, seen).sum()),
        True,
        "relevant test pairs are among the seen ones that rankings leave out",
    )
    if not inputs.split.new_pairs_only:
        return
    place = np.full(max(len(log.query_ids), 1), -1, np.int64)
    codes = log.codes_of(test.ids)
    place[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
    earlier = (log.split != TEST) & (place[log.query] >= 0)
    pairs = np.unique(place[log.query[earlier]] * span + log.candidate[earlier])
    yield Finding(
        "pair_in_training_and_test",
        int(np.isin(relevant, pairs).sum()),
        True,
        "relevant test pairs are also training or validation interactions, although "
        "split.new_pairs_only is true",
    )
    if inputs.split.kind != "given":
        yield Finding(
            "seen_pair_is_ranked",
            int((~np.isin(pairs, seen)).sum()),
            False,
            "earlier pairs of the test queries are not left out of their rankings",
        )


def _texts(inputs: EvaluationInputs) -> Iterator[Finding]:
    test, trained = inputs.test, inputs.training.query_texts
    if test.texts is not None and trained is not None and not bool((test.num_events > 0).any()):
        known = {_plain(text) for text in trained} - {""}
        yield Finding(
            "query_text_in_training",
            sum(_plain(text) in known for text in test.texts),
            True,
            "test queries have word for word the text of a training query",
        )
    if inputs.corpus.texts is not None:
        texts = [plain for plain in map(_plain, inputs.corpus.texts) if plain]
        yield Finding(
            "duplicate_candidates",
            len(texts) - len(set(texts)),
            False,
            "candidates have word for word the text of another one: finding the twin counts as "
            "a miss",
        )


def _learned(inputs: EvaluationInputs) -> Iterator[Finding]:
    log, training = inputs.log, inputs.training
    in_train = log.split == TRAIN
    counts = np.bincount(log.candidate[in_train & log.positive], minlength=len(inputs.corpus))
    yield Finding(
        "popularity_outside_training",
        int((inputs.corpus.count > counts).sum()),
        True,
        "candidates have a higher training popularity than the training split holds",
    )
    if training.candidate_vocabulary is not None:
        known = _named(inputs.corpus.ids, np.unique(log.candidate[in_train]))
        yield Finding(
            "candidate_vocabulary_outside_training",
            _unknown(training.candidate_vocabulary, known),
            True,
            "candidate ids of the vocabulary have no training interaction",
        )
    if training.query_vocabulary is not None:
        known = _named(log.query_ids, np.unique(log.query[in_train]))
        yield Finding(
            "query_vocabulary_outside_training",
            _unknown(training.query_vocabulary, known),
            True,
            "query ids of the vocabulary have no training interaction",
        )


def _keys(pairs: Ragged, span: int) -> NDArray[np.int64]:
    return pairs.owners * span + pairs.values


def _named(names: Sequence[str], places: Iterable[int]) -> set[str]:
    return {names[place] for place in places}


def _unknown(values: Sequence[str], known: set[str]) -> int:
    return sum(value not in known for value in values)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
