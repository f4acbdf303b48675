import json

import numpy as np
import pytest

from tests.benchmarks.million_candidates.__main__ import main
from tests.benchmarks.million_candidates.measuring import Times, shared
from tests.benchmarks.million_candidates.peers import PEERS
from tests.benchmarks.million_candidates.re_scoring import compiled, re_score
from tests.benchmarks.million_candidates.world import make_world


def test_compiled_re_scoring_is_that_of_numpy():
    world = make_world(300, 3, dim=32)
    compiled_re_score = compiled(world)
    if compiled_re_score is None:
        pytest.skip("Numba is not installed")
    rows = np.stack([np.random.default_rng(q).permutation(300)[:40] for q in range(3)])
    rows[0, 5] = -1
    scores = np.einsum("qnd,qd->qn", world.vectors[rows], world.queries)
    found = compiled_re_score(np.arange(3), rows, scores, 10)
    wanted = re_score(world, np.arange(3), rows, scores, 10)
    assert shared(found, wanted) > 0.95  # from heads in eight bits


def test_re_scoring_is_that_of_a_loop():
    world = make_world(300, 3, dim=8)
    rows = np.stack([np.random.default_rng(q).permutation(300)[:40] for q in range(3)])
    rows[0, 5] = -1
    scores = np.einsum("qnd,qd->qn", world.vectors[rows], world.queries)
    found = re_score(world, np.arange(3), rows, scores, 10)
    for query in range(3):
        final = {
            row: world.retrieval_weight * (world.vectors[row] @ world.queries[query])
            + world.constants[row]
            + world.interaction_weight
            * sum(
                max(own @ head for own in world.candidate_heads[row])
                for head in world.query_heads[query]
            )
            for row in rows[query]
            if row >= 0
        }
        assert found[query].tolist() == sorted(final, key=lambda row: -final[row])[:10]


def test_a_ratio_is_taken_inside_a_round():
    # The second round was slow for both: 3 / 2, 30 / 20 and 1 / 1, whose median is 1.5.
    theirs = Times([[2.0] * 3, [20.0] * 3, [1.0] * 3])
    assert Times([[3.0] * 3, [30.0] * 3, [1.0] * 3]).ratio(theirs) == 1.5


def test_the_whole_benchmark(tmp_path, capsys):
    path = tmp_path / "figures.json"
    # TensorFlow runs already, so that its threads are what they are.
    sizes = "--candidates 2000 --queries 64 --depth 150 --k 100 --rounds 1 --intra-op 0"
    # One ScaNN stands for those that differ in numbers alone.
    peers = [name for name in PEERS if not name.startswith("ScaNN") or name == "ScaNN, SOAR"]
    systems = ["--systems", "ivf", *peers]
    main([*sizes.split(), "--json", str(path), *systems])
    text = capsys.readouterr().out
    found = json.loads(path.read_text())
    installed = {name for name in peers if PEERS[name].installed()}
    assert set(found["systems"]) == {"ivf", *installed}
    for name, facts in found["systems"].items():
        assert f"| {name} |" in text
        assert facts["overlap"] > 0.8, name
        assert facts["final_overlap"] > 0.8, name
