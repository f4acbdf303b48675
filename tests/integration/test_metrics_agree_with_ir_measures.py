import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, R, Success, nDCG

from tfrs_twotower.metrics import judge, per_query
from tfrs_twotower.ranking import GroundTruth
from tfrs_twotower.ranking.order import top_k_rows

pytestmark = pytest.mark.integration
STRANGERS = {
    "recall": R,
    "hit_rate": Success,
    "precision": P,
    "ndcg": nDCG,
    "mrr": RR,
    "map": AP,
}


@pytest.mark.parametrize("seed", range(3))
def test_every_metric_agrees_on_random_rankings(seed):
    """Ties are broken before: the stranger is given our ranks as scores."""
    generator = np.random.default_rng(seed)
    num_queries, num_candidates, depth = 25, 60, 20
    scores = generator.integers(0, 9, (num_queries, num_candidates)).astype(float)
    scores[generator.random(scores.shape) < 0.6] = -np.inf
    scores[0, 5:] = -np.inf
    ranked = top_k_rows(scores, depth)
    relevant = [
        generator.choice(num_candidates, generator.integers(1, 30), replace=False)
        for _ in range(num_queries)
    ]
    gains = [generator.integers(1, 5, len(rows)).astype(float) for rows in relevant]
    judged = judge(ranked, GroundTruth.from_lists(relevant, gains))
    qrels = [
        ir_measures.Qrel(f"q{query}", f"d{row}", int(gain))
        for query in range(num_queries)
        for row, gain in zip(relevant[query], gains[query], strict=True)
    ]
    run = [
        ir_measures.ScoredDoc(f"q{query}", f"d{row}", float(depth - rank))
        for query in range(num_queries)
        for rank, row in enumerate(ranked[query])
        if row >= 0
    ]
    measures = {f"{name}@{k}": kind @ k for name, kind in STRANGERS.items() for k in (1, 5, 20)}
    names = {measure: name for name, measure in measures.items()}
    for found in ir_measures.iter_calc(list(names), qrels, run):
        ours = per_query(names[found.measure], judged)[int(found.query_id[1:])]
        assert ours == pytest.approx(found.value, abs=1e-9), found
