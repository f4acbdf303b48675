"""Quality measures, as a client would take them, and the estimate of memory."""

import numpy as np

from serving.bundle.measures import Twins, measure_model, memory_estimate, model_bytes
from tests.fixtures.asking import answers
from tests.fixtures.small_release import (
    NUM_CANDIDATES,
    K,
    small_queries,
)
from tfrs_twotower.data.query_set import QuerySet


def test_measures_are_what_a_client_sees(whole_release, whole):
    queries, random = small_queries(70, seed=9), np.random.default_rng(9)
    ids = np.array([f"c{number:02d}" for number in range(NUM_CANDIDATES)], object)
    relevant = [random.choice(ids, 3, replace=False) for _ in range(70)]
    seen = [np.setdiff1d(random.choice(ids, 4), own) for own in relevant]
    measured = measure_model(
        whole, QuerySet.of(whole_release.corpus, queries, relevant, seen), whole_release.corpus
    )
    lists = answers(whole, "serving_default", queries, exclude=[list(own) for own in seen])
    lists = lists["candidate_ids"]
    nearest = answers(whole, "candidate_generation", queries)["candidate_ids"]
    hits = [
        len({name.decode() for name in answer} & set(own))
        for answer, own in zip(lists, relevant, strict=True)
    ]
    assert measured.worst_decile == {f"overlap@{K}": 1.0}
    assert measured.values == {
        f"recall@{K}": round(sum(hits) / 3 / 70, 6),
        f"overlap@{K}": 1.0,
        f"coverage@{K}": round(len(set(lists.ravel())) / NUM_CANDIDATES, 6),
        f"retrieval_coverage@{K}": round(len(set(nearest.ravel())) / NUM_CANDIDATES, 6),
    }


VECTORS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [1.0, -0.0]], np.float32)


def test_which_twin_is_listed_changes_nothing():
    """Rows 0, 2 and 4 are twins."""
    twins, nothing = Twins.of(VECTORS), np.zeros(0, np.int64)
    for listed in ([0, 1], [2, 1], [4, 1]):
        rows = np.array(listed)
        assert twins.recall(np.array([0]), rows, nothing) == 1 / 3
        assert twins.recall(np.array([0, 1]), rows, nothing) == (1 / 3 + 1) / 2
        assert twins.recall(np.array([0]), rows, np.array([2])) == 1 / 2
        assert twins.coverage([rows, np.array([0, -1])]) == 2 / 5
    assert twins.recall(np.array([0]), np.array([0, 2, 4, -1]), nothing) == 1.0
    assert twins.recall(np.array([3]), np.array([0, -1]), nothing) == 0.0


def test_a_corpus_that_collapsed_covers_one_vector():
    twins = Twins.of(np.tile(VECTORS[:1], (50, 1)))
    assert twins.coverage([np.arange(20), np.arange(20, 40)]) == 1 / 50


def test_without_twins_recall_is_by_id():
    twins = Twins(np.arange(9))
    rows = np.array([4, 2, -1])
    assert twins.recall(np.array([2, 3, 4]), rows, np.array([5])) == 2 / 3
    assert twins.coverage([rows]) == 2 / 9


def write_version(directory, size):
    for name, share in (
        ("saved_model.pb", size),
        ("variables/variables.data-00000-of-00001", 10 * size),
        ("assets/candidate_ids.txt", 2 * size),
        ("assets.extra/tf_serving_warmup_requests", 1000),
        ("refresh/vectors.npy", 5000),
    ):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * share)
    return directory


def test_what_a_server_loads_counts_and_what_lies_beside_it_does_not(tmp_path):
    assert model_bytes(write_version(tmp_path, 100)) == 100 + 1000 + 200


def test_two_versions_side_by_side(tmp_path):
    old, new = write_version(tmp_path / "1", 100), write_version(tmp_path / "2", 200)
    assert memory_estimate(new, old) == {
        "version_bytes": round(1.2 * 2600),
        "swap_bytes": round(1.2 * (1300 + 2600)),
    }
    assert memory_estimate(new, None)["swap_bytes"] == round(1.2 * 2 * 2600)
