"""The leakage check: looks for signs that training saw what the test asks."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.evaluated_data import EvaluationInputs
from tfrs_twotower.evaluation.evaluation_document import LeakageCheck, LeakFinding
from tfrs_twotower.ranking.ragged import Ragged
from tfrs_twotower.ranking.sorting import contains, distinct
from tfrs_twotower.specs import TEST, TRAIN


def check_leakage(inputs: EvaluationInputs) -> LeakageCheck:
    """Runs every check that the data allows."""
    results = [*_time(inputs), *_pairs(inputs), *_texts(inputs), *_learned(inputs)]
    findings = tuple(finding for finding in results if finding.count > 0)
    return LeakageCheck(
        verdict="leaky" if any(finding.leak for finding in findings) else "clean",
        findings=findings,
        passed=tuple(finding.check for finding in results if finding.count == 0),
    )


def _time(inputs: EvaluationInputs) -> Iterator[LeakFinding]:
    log, kind = inputs.log, inputs.split.kind
    timed = np.full(len(log), inputs.split.has_time or inputs.split.has_order)
    train, test = timed & (log.split == TRAIN), timed & (log.split == TEST)
    if not (train.any() and test.any()):
        return
    if kind == "temporal":
        start = int(log.timestamp[test].min())
        yield LeakFinding(
            check="training_after_test_begins",
            count=int((log.timestamp[train] >= start).sum()),
            leak=not inputs.split.sessions,
            message="training interactions are not older than the first test interaction"
            + (" (sessions are kept whole, which allows some)" if inputs.split.sessions else ""),
        )
    size = max(len(log.query_ids), 1)
    first_test = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(first_test, log.query[test], log.timestamp[test])
    earlier = timed & (log.split != TEST)
    late = earlier & (log.timestamp > first_test[log.query])
    yield LeakFinding(
        check="query_order",
        count=len(distinct(log.query[late])),
        leak=kind in ("temporal", "per_query_last") and not inputs.split.sessions,
        message="queries have training or validation interactions after their own test "
        "interactions",
    )


def _pairs(inputs: EvaluationInputs) -> Iterator[LeakFinding]:
    log, test = inputs.log, inputs.test
    span = len(inputs.corpus)
    relevant = _keys(test.truth.relevant, span)
    seen = distinct(_keys(test.seen, span))
    yield LeakFinding(
        check="relevant_is_left_out",
        count=int(contains(seen, relevant).sum()),
        leak=True,
        message="relevant test pairs are among the seen ones that rankings leave out",
    )
    yield LeakFinding(
        check="relevant_is_not_ranked",
        count=int((~inputs.eligible[test.truth.relevant.values]).sum()),
        leak=True,
        message="relevant test pairs are of candidates that no system may rank "
        "(split.known_candidates_only): they count as missed",
    )
    if not inputs.split.new_pairs_only:
        return
    place = np.full(max(len(log.query_ids), 1), -1, np.int64)
    codes = log.codes_of(test.ids)
    place[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
    earlier = (log.split != TEST) & (place[log.query] >= 0)
    pairs = distinct(place[log.query[earlier]] * span + log.candidate[earlier])
    yield LeakFinding(
        check="pair_in_training_and_test",
        count=int(contains(pairs, relevant).sum()),
        leak=True,
        message="relevant test pairs are also training or validation interactions, although "
        "split.new_pairs_only is true",
    )
    if inputs.split.kind != "given":
        yield LeakFinding(
            check="seen_pair_is_ranked",
            count=int((~contains(seen, pairs)).sum()),
            leak=False,
            message="earlier pairs of the test queries are not left out of their rankings",
        )


def _texts(inputs: EvaluationInputs) -> Iterator[LeakFinding]:
    test, trained = inputs.test, inputs.training.query_texts
    if test.texts is not None and trained is not None and not bool((test.num_events > 0).any()):
        known = {_plain(text) for text in trained} - {""}
        yield LeakFinding(
            check="query_text_in_training",
            count=sum(_plain(text) in known for text in test.texts),
            leak=True,
            message="test queries have word for word the text of a training query",
        )
    if inputs.corpus.texts is not None:
        texts = [plain for plain in map(_plain, inputs.corpus.texts) if plain]
        yield LeakFinding(
            check="duplicate_candidates",
            count=len(texts) - len(set(texts)),
            leak=False,
            message="candidates have word for word the text of another one: finding the twin "
            "counts as a miss",
        )


def _learned(inputs: EvaluationInputs) -> Iterator[LeakFinding]:
    log, training = inputs.log, inputs.training
    in_train = log.split == TRAIN
    counts = np.bincount(log.candidate[in_train & log.positive], minlength=len(inputs.corpus))
    yield LeakFinding(
        check="popularity_outside_training",
        count=int((inputs.counts > counts).sum()),
        leak=True,
        message="candidates have a higher training popularity than the training split holds",
    )
    if training.candidate_vocabulary is not None:
        known = _named(inputs.corpus.ids.tolist(), distinct(log.candidate[in_train]))
        yield LeakFinding(
            check="candidate_vocabulary_outside_training",
            count=_unknown(training.candidate_vocabulary, known),
            leak=True,
            message="candidate ids of the vocabulary have no training interaction",
        )
    if training.query_vocabulary is not None:
        known = _named(log.query_ids, distinct(log.query[in_train]))
        yield LeakFinding(
            check="query_vocabulary_outside_training",
            count=_unknown(training.query_vocabulary, known),
            leak=True,
            message="query ids of the vocabulary have no training interaction",
        )
    if training.fresh_candidates or training.fresh_queries:
        learned = log.split != TEST
        candidates = _named(inputs.corpus.ids.tolist(), distinct(log.candidate[learned]))
        queries = _named(log.query_ids, distinct(log.query[learned]))
        yield LeakFinding(
            check="refit_vocabulary_outside_training_and_validation",
            count=_unknown(training.fresh_candidates, candidates)
            + _unknown(training.fresh_queries, queries),
            leak=True,
            message="ids that a refit knows have no interaction in training or validation",
        )


def _keys(pairs: Ragged, span: int) -> NDArray[np.int64]:
    return pairs.owners * span + pairs.values


def _named(names: Sequence[str], places: Iterable[int]) -> set[str]:
    return {names[place] for place in places}


def _unknown(values: Sequence[str], known: set[str]) -> int:
    return sum(value not in known for value in values)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
