"""The stage against the definitions, on random tables."""

import copy
from collections import Counter

import numpy as np
import pytest

from tests.integration.preprocess_world import (
    CANDIDATES,
    QUERIES,
    SPEC,
    examples,
    frequencies,
    interactions,
    random_events,
    run,
    statistics,
    vocabulary,
    write_tables,
)
from tests.reference import splits
from tests.reference.preprocessing import evaluated_queries, training_examples
from tfrs_twotower.data.loading import load_corpus
from tfrs_twotower.data.stored_tables import known_candidates
from tfrs_twotower.specs import FeatureSpec

pytestmark = pytest.mark.integration

PER_QUERY = {"kind": "per_query_last", "test": 0.2, "validation": 2}
TEMPORAL = SPEC["split"]


def spec_with(**split):
    spec = copy.deepcopy(SPEC)
    spec["split"] = split
    return spec


def expected_events(rows, split):
    """The rows as dicts, with the split that the definition gives them."""
    if split["kind"] == "temporal":
        names = splits.temporal([(row[2], row[4]) for row in rows], 0.2, 0.2)
    else:
        names = [""] * len(rows)
        for query in {row[0] for row in rows}:
            places = [place for place, row in enumerate(rows) if row[0] == query]
            order = [(rows[place][2], place) for place in places]
            for place, name in zip(
                places,
                splits.per_query_last(order, split["test"], split["validation"]),
                strict=True,
            ):
                names[place] = name
    return [
        {
            "query_id": row[0],
            "candidate_id": row[1],
            "timestamp": row[2],
            "position": place,
            "label": float(row[3]),
            "positive": row[3] >= 3,
            "split": name,
        }
        for place, (row, name) in enumerate(zip(rows, names, strict=True))
    ]


@pytest.mark.parametrize(
    ("seed", "split"),
    [
        (0, TEMPORAL),
        (1, {**TEMPORAL, "new_pairs_only": False}),
        (2, {**TEMPORAL, "known_queries_only": True, "known_candidates_only": True}),
        (3, PER_QUERY),
    ],
)
def test_the_artifact_agrees_with_the_definitions(tmp_path, seed, split):
    rows = random_events(seed, number=240 if seed != 2 else 40)
    write_tables(tmp_path, rows)
    manifest = run(tmp_path, spec=spec_with(**split), num_shards=2, recent_days=5)
    artifact = tmp_path / "work" / "preprocessed"
    events = expected_events(rows, split)
    check_interactions(artifact, events)
    check_training(artifact, events, split.get("new_pairs_only", True))
    check_evaluation(artifact, events, split)
    check_frequencies(artifact, events, split)
    check_learned(artifact, events)
    assert manifest.counts["interactions"] == len(rows)
    assert manifest.counts["train_examples"] == len(examples(artifact, "train"))
    no_record = sum(event["query_id"] == "q12" for event in events)
    assert manifest.counts["interactions_without_query_record"] == no_record


def test_what_counts_as_relevant_can_be_ranked(tmp_path):
    """Candidates that have only low labels in training are counted, so they must be ranked."""
    rows = random_events(6, number=60)
    write_tables(tmp_path, rows)
    split = {**TEMPORAL, "known_candidates_only": True}
    run(tmp_path, spec=spec_with(**split))
    artifact = tmp_path / "work" / "preprocessed"
    events = expected_events(rows, split)
    trained = {e["candidate_id"] for e in events if e["split"] == "train"}
    liked = {e["candidate_id"] for e in events if e["split"] == "train" and e["positive"]}
    spec = FeatureSpec.model_validate(spec_with(**split))
    corpus = load_corpus(artifact, spec)
    assert set(corpus.ids[known_candidates(artifact, corpus)]) == trained
    relevant = {
        name
        for split in ("validation", "test")
        for one in examples(artifact, split)
        for name in one["_relevant"]
    }
    assert relevant
    assert relevant <= trained
    assert not relevant <= liked  # the world has what the rule is about


def test_dropping_others_is_as_if_they_had_never_been_written(tmp_path):
    rows = random_events(5)
    relevance = {"min_label": 3, "drop_others": True}
    write_tables(tmp_path / "all", rows)
    write_tables(tmp_path / "positive", [row for row in rows if row[3] >= 3])
    for directory in ("all", "positive"):
        run(tmp_path / directory, spec={**spec_with(**PER_QUERY), "relevance": relevance})
    one, other = (tmp_path / name / "work" / "preprocessed" for name in ("all", "positive"))
    for name in ("train", "fresh", "validation", "test", "corpus"):
        assert repr(examples(one, name)) == repr(examples(other, name))  # NaN is not equal to NaN
    assert frequencies(one) == frequencies(other)


def check_interactions(artifact, events):
    def as_key(row):
        names = ("query_id", "timestamp", "candidate_id", "label", "split", "positive")
        return tuple(row[name] for name in names)

    rows = interactions(artifact)
    assert sorted(map(as_key, rows)) == sorted(map(as_key, events))
    assert {row["weight"] for row in rows} == {1.0}


def check_training(artifact, events, new_pairs_only):
    for name, split in (("train", "train"), ("fresh", "validation")):
        before = training_examples(
            events,
            split,
            length=4,
            window="before",
            positives_only=False,
            new_pairs_only=new_pairs_only,
        )
        others = training_examples(
            events,
            split,
            length=3,
            window="leave_one_out",
            positives_only=True,
            new_pairs_only=new_pairs_only,
        )
        expected = Counter(
            (query, candidate, time, before[key], others[key])
            for key in before
            for query, candidate, time, _ in [key]
        )
        actual = Counter(
            (
                one["_query_id"][0],
                one["_candidate_id"][0],
                one["_timestamp"][0],
                tuple(one["before"]),
                tuple(one["others"]),
            )
            for one in examples(artifact, name)
        )
        assert actual == expected
        for one in examples(artifact, name):
            assert one["hour"] == one["_timestamp"]


def check_evaluation(artifact, events, split):
    cutoffs = statistics(artifact)["window"]
    for name, cutoff in (("validation", "train_end"), ("test", "validation_end")):
        expected = evaluated_queries(
            events,
            name,
            length=4,
            positives_only=False,
            new_pairs_only=split.get("new_pairs_only", True),
            known_queries=split.get("known_queries_only", False),
            known_candidates=split.get("known_candidates_only", False),
        )
        queries = {one["_query_id"][0]: one for one in examples(artifact, name)}
        assert queries.keys() == expected.keys()
        for query, (history, relevant, seen, number) in expected.items():
            one = queries[query]
            assert tuple(one["before"]) == history
            assert dict(zip(one["_relevant"], one["_gain"], strict=True)) == relevant
            assert one["_seen"] == sorted(seen)
            assert one["_num_events"] == [number]
            if split["kind"] == "temporal":
                assert one["_timestamp"] == one["hour"] == [cutoffs[cutoff]]


def check_frequencies(artifact, events, split):
    train = [e for e in events if e["split"] == "train"]
    end = max(e["timestamp"] for e in train) + 1
    if split["kind"] == "temporal":
        end = statistics(artifact)["window"]["train_end"]
    positive = [e for e in train if e["positive"]]
    recent = [e for e in positive if e["timestamp"] >= end - 5 * 86_400]
    counts, recent_counts = (
        Counter(e["candidate_id"] for e in chosen) for chosen in (positive, recent)
    )
    ids = [line.split(",")[0] for line in CANDIDATES[1:]]
    assert frequencies(artifact) == {one: (counts[one], recent_counts[one]) for one in ids}


def check_learned(artifact, events):
    trained = [e for e in events if e["split"] == "train"]
    of_items = Counter(e["candidate_id"] for e in trained)
    by_frequency = sorted(of_items, key=lambda item: (-of_items[item], item))
    assert vocabulary(artifact, "item") == by_frequency
    tags = Counter()
    for item, number in of_items.items():
        tags.update({"a": number, f"b{int(item[1:]) % 5}": number})
    assert vocabulary(artifact, "tag") == sorted(tags, key=lambda tag: (-tags[tag], tag))
    numeric = statistics(artifact)["numeric"]
    prices = [float(item[1:]) for item in of_items]
    assert numeric["candidate.price"]["mean"] == pytest.approx(np.mean(prices))
    np.testing.assert_allclose(
        numeric["candidate.price"]["boundaries"], np.quantile(prices, [0.25, 0.5, 0.75])
    )
    ages = {line.split(",")[0]: line.split(",")[2] for line in QUERIES[1:]}
    of_trained = [ages.get(query, "") for query in {e["query_id"] for e in trained}]
    known = [float(age) for age in of_trained if age]
    assert numeric["query.age"]["count"] == len(known)
    assert numeric["query.age"]["missing"] == len(of_trained) - len(known)
    assert numeric["query.age"]["std"] == pytest.approx(np.std(known))


def test_raw_features_of_corpus_and_queries(tmp_path):
    write_tables(tmp_path, random_events(0))
    run(tmp_path, num_shards=1)
    artifact = tmp_path / "work" / "preprocessed"
    corpus = {one["_candidate_id"][0]: one for one in examples(artifact, "corpus")}
    assert len(corpus) == 20
    assert corpus["c7"] == {
        "item": ["c7"],
        "tags": ["a", "b2"],
        "price": [7.0],
        "made": [1_300_000_000],
        "_candidate_id": ["c7"],
        "_title": ["Thing 7 of 3, boxed"],
    }
    stranger = next(one for one in examples(artifact, "train") if one["_query_id"] == ["q12"])
    assert stranger["colour"] == [""]
    assert np.isnan(stranger["age"][0])
