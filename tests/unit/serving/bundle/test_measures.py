"""Quality measures, as a client would take them, and the estimate of memory."""

import numpy as np

from serving.bundle.measures import measure_model, memory_estimate, model_bytes
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
