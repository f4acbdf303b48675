"""A small evaluation built by hand: two communities, each with its own candidates."""

from dataclasses import replace

import numpy as np

from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.data.corpus import Corpus, strings
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.evaluation.evaluated_data import (
    EvaluationInputs,
    InteractionLog,
    SplitFacts,
    TrainingFacts,
)
from tfrs_twotower.ranking import GroundTruth
from tfrs_twotower.ranking.ragged import Ragged

NUM_QUERIES, NUM_CANDIDATES = 40, 30
CONFIG = EvaluateConfig(ks=(2, 5, 10), num_bootstrap=50, num_example_queries=3)


def make_world(seed=0, *, kind="per_query_last", texts=False):
    """Query q chooses candidates of its own parity; six for train, one validation, two test."""
    generator = np.random.default_rng(seed)
    events = []
    for query in range(NUM_QUERIES):
        own = generator.permutation(np.arange(query % 2, NUM_CANDIDATES, 2))[:9]
        for place, row in enumerate(own):
            split = 0 if place < 6 else 1 if place < 7 else 2
            events.append((query, int(row), 1000 * (split + 1) + place, split))
    query, candidate, timestamp, split = (np.array(column) for column in zip(*events, strict=True))
    log = InteractionLog(
        query_ids=[f"q{place:02d}" for place in range(NUM_QUERIES)],
        query=query,
        candidate=candidate,
        timestamp=timestamp,
        positive=np.ones(len(query), bool),
        split=split,
    )
    count = np.bincount(candidate[split == 0], minlength=NUM_CANDIDATES)
    direction = np.eye(4, dtype=np.float32)
    noise = 0.1 * generator.normal(size=(NUM_CANDIDATES, 4)).astype(np.float32)
    candidates = unit(direction[np.arange(NUM_CANDIDATES) % 2] + noise)
    queries = unit(
        direction[np.arange(NUM_QUERIES) % 2]
        + 0.1 * generator.normal(size=(NUM_QUERIES, 4)).astype(np.float32)
    )

    def query_set(name, code):
        return QuerySet(
            split=name,
            ids=strings(list(log.query_ids)),
            truth=GroundTruth.from_lists(
                [candidate[(query == q) & (split == code)] for q in range(NUM_QUERIES)]
            ),
            seen=Ragged.from_lists(
                [candidate[(query == q) & (split < code)] for q in range(NUM_QUERIES)]
            ),
            num_events=np.array([int(((query == q) & (split < code)).sum()) for q in range(40)]),
            timestamps=np.full(NUM_QUERIES, 1000 * (code + 1)),
            embeddings=queries,
            texts=[f"even {q}" if q % 2 == 0 else f"odd {q}" for q in range(40)] if texts else None,
        )

    return EvaluationInputs(
        dataset="tiny",
        corpus=Corpus(
            strings([f"c{row:02d}" for row in range(NUM_CANDIDATES)]),
            strings([f"<Title> {row}" for row in range(NUM_CANDIDATES)]),
            {},
            candidates,
            texts=(
                [f"{'odd' if row % 2 else 'even'} words {row + 100}" for row in range(30)]
                if texts
                else None
            ),
        ),
        counts=count,
        recent_counts=count,
        log=log,
        test=query_set("test", 2),
        validation=query_set("validation", 1),
        eligible=np.ones(NUM_CANDIDATES, bool),
        split=SplitFacts(kind),
        training=TrainingFacts(
            candidate_vocabulary=[f"c{row:02d}" for row in np.flatnonzero(count)],
            query_vocabulary=list(log.query_ids),
        ),
    )


def without_history(inputs):
    """The same queries as new ones: nothing seen, no earlier events."""
    empty = Ragged.from_lists([[] for _ in range(NUM_QUERIES)])
    changed = {
        name: replace(getattr(inputs, name), seen=empty, num_events=np.zeros(NUM_QUERIES, np.int64))
        for name in ("test", "validation")
    }
    return replace(inputs, split=SplitFacts("given", new_pairs_only=False), **changed)


def reordered(queries, order):
    """The query set with its queries in another order, or some of them, without texts."""
    return replace(queries.take(np.asarray(order)), texts=None)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
