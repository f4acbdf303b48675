from dataclasses import replace

import numpy as np
import pytest

from tests.unit.evaluation.world import make_world, without_history
from tfrs_twotower.evaluation.evaluated_data import SplitFacts, TrainingFacts
from tfrs_twotower.evaluation.leakage import check_leakage
from tfrs_twotower.ranking.ragged import Ragged
from tfrs_twotower.specs import TEST


def leaks(inputs):
    check = check_leakage(inputs)
    return check.verdict, {finding.check: finding.count for finding in check.findings}


@pytest.mark.parametrize("kind", ["temporal", "per_query_last"])
def test_an_honest_split_is_clean(kind):
    assert leaks(make_world(kind=kind)) == ("clean", {})


def test_relevant_pairs_that_no_system_may_rank():
    inputs = make_world()
    row = inputs.test.truth.relevant[0][0]
    eligible = np.arange(30) != row
    verdict, findings = leaks(replace(inputs, eligible=eligible))
    assert verdict == "leaky"
    assert findings == {
        "relevant_is_not_ranked": int((inputs.test.truth.relevant.values == row).sum())
    }


def test_training_events_of_the_test_window():
    inputs = make_world(kind="temporal")
    timestamp = inputs.log.timestamp.copy()
    timestamp[np.flatnonzero(inputs.log.split == 0)[:3]] = 9_999
    verdict, findings = leaks(replace(inputs, log=replace(inputs.log, timestamp=timestamp)))
    assert verdict == "leaky"
    assert findings["training_after_test_begins"] == 3
    assert findings["query_order"] == 1


def test_whole_sessions_may_reach_over_the_cut_off():
    inputs = make_world(kind="temporal")
    timestamp = inputs.log.timestamp.copy()
    timestamp[np.flatnonzero(inputs.log.split == 0)[:3]] = 9_999
    inputs = replace(
        inputs,
        log=replace(inputs.log, timestamp=timestamp),
        split=SplitFacts("temporal", sessions=True),
    )
    assert leaks(inputs)[0] == "clean"


def test_a_pair_in_training_and_test():
    inputs = make_world()
    candidate = inputs.log.candidate.copy()
    own = inputs.log.query == 0
    candidate[np.flatnonzero(own & (inputs.log.split == 0))[0]] = inputs.test.truth.relevant[0][0]
    verdict, findings = leaks(replace(inputs, log=replace(inputs.log, candidate=candidate)))
    assert verdict == "leaky"
    assert findings["pair_in_training_and_test"] == 1


def test_repeats_are_no_leak_where_they_count():
    inputs = make_world()
    candidate = inputs.log.candidate.copy()
    own = inputs.log.query == 0
    candidate[np.flatnonzero(own & (inputs.log.split == 0))[0]] = inputs.test.truth.relevant[0][0]
    inputs = replace(
        inputs,
        log=replace(inputs.log, candidate=candidate),
        counts=np.zeros(30, np.int64),
        split=SplitFacts("per_query_last", new_pairs_only=False),
        training=TrainingFacts(),
    )
    assert leaks(inputs)[0] == "clean"


def test_relevant_candidates_that_are_left_out():
    inputs = make_world()
    seen = [*(list(inputs.test.seen[place]) for place in range(40))]
    seen[0] = [*seen[0], int(inputs.test.truth.relevant[0][0])]
    inputs = replace(inputs, test=replace(inputs.test, seen=Ragged.from_lists(seen)))
    assert leaks(inputs) == ("leaky", {"relevant_is_left_out": 1})


def test_popularity_that_counts_the_test():
    inputs = make_world()
    count = inputs.counts.copy()
    count[4] += 1
    inputs = replace(inputs, counts=count)
    assert leaks(inputs) == ("leaky", {"popularity_outside_training": 1})


def test_vocabularies_that_know_the_future():
    inputs = make_world()
    training = TrainingFacts(candidate_vocabulary=["c00", "new"], query_vocabulary=["q00", "q99"])
    assert leaks(replace(inputs, training=training)) == (
        "leaky",
        {"candidate_vocabulary_outside_training": 1, "query_vocabulary_outside_training": 1},
    )


def test_a_refit_may_know_ids_of_validation_but_none_that_only_test_has():
    inputs = make_world()
    log = inputs.log
    learned = {inputs.corpus.ids[row] for row in log.candidate[log.split != TEST]}
    known = [name for name in inputs.corpus.ids if name in learned]
    training = TrainingFacts(fresh_candidates=known, fresh_queries=log.query_ids)
    assert leaks(replace(inputs, training=training)) == ("clean", {})
    later = replace(log, split=np.where(log.candidate == log.candidate[0], TEST, log.split))
    training = TrainingFacts(fresh_candidates=[inputs.corpus.ids[log.candidate[0]], "nowhere"])
    _, found = leaks(replace(inputs, log=later, training=training))
    assert found["refit_vocabulary_outside_training_and_validation"] == 2


def test_a_test_question_that_was_trained_on():
    inputs = without_history(make_world(texts=True))
    inputs = replace(inputs, training=TrainingFacts(query_texts=["EVEN  0", "something else"]))
    assert leaks(inputs) == ("leaky", {"query_text_in_training": 1})


def test_duplicate_candidates_are_noted_and_no_leak():
    inputs = make_world(texts=True)
    texts = ["same text", "same  TEXT", *inputs.corpus.texts[2:]]
    inputs = replace(inputs, corpus=replace(inputs.corpus, texts=texts))
    assert leaks(inputs) == ("clean", {"duplicate_candidates": 1})
