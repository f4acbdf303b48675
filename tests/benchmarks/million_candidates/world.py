"""Planted vectors like those of a trained two-tower model, and heads that go with them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

CANDIDATES_PER_CLUSTER = 333
NUM_HEADS = 4
_DECAY = 0.35  # Variance falls over directions, as it does in learned embeddings.
_ZIPF = 0.6  # Sizes of clusters: a few topics are large.
_CANDIDATE_SPREAD = 0.75
_QUERY_SPREAD = 0.825
_HEAD_NOISE = 0.5
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class World:
    """Everything that the two towers and the pre-ranker would have computed."""

    vectors: Floats
    """`[num_candidates, dim]`, unit length."""
    candidate_heads: Floats
    """`[num_candidates, NUM_HEADS, dim]`, unit length."""
    constants: Floats
    """`[num_candidates]`: what a candidate's score owes to itself."""
    queries: Floats
    """`[num_queries, dim]`, unit length."""
    query_heads: Floats
    """`[num_queries, NUM_HEADS, dim]`, unit length."""
    retrieval_weight: float = 1.0
    interaction_weight: float = 0.3


def make_world(num_candidates: int, num_queries: int, dim: int = 64, seed: int = 0) -> World:
    """A mixture on the sphere: a query falls near a cluster, and is nobody's copy.

    Heads are the vector turned in a fixed way for each head, with noise: they agree with
    retrieval, but not wholly, and so re-scoring changes the order.
    """
    random = np.random.default_rng(seed)
    scales = (1.0 + np.arange(dim)) ** -_DECAY
    scales = (scales / np.sqrt(np.square(scales).mean())).astype(np.float32)
    turned = _rotation(random, dim)
    num_clusters = max(2, num_candidates // CANDIDATES_PER_CLUSTER)
    centres = _unit(random.normal(size=(num_clusters, dim)) * scales)
    shares = (1.0 + np.arange(num_clusters)) ** -_ZIPF
    shares /= shares.sum()

    def draw(count: int, spread: float) -> Floats:
        drawn = np.empty((count, dim), np.float32)
        for start in range(0, count, _ROWS_AT_ONCE):
            part = drawn[start : start + _ROWS_AT_ONCE]
            own = centres[random.choice(num_clusters, len(part), p=shares)]
            noise = random.standard_normal(part.shape, np.float32) * (spread / np.sqrt(dim))
            part[:] = _unit(own + scales * noise) @ turned
        return drawn

    vectors, queries = draw(num_candidates, _CANDIDATE_SPREAD), draw(num_queries, _QUERY_SPREAD)
    turns = [_rotation(random, dim) for _ in range(NUM_HEADS)]
    return World(
        vectors,
        _heads(random, vectors, turns),
        random.normal(size=num_candidates, scale=0.05).astype(np.float32),
        queries,
        _heads(random, queries, turns),
    )


def _heads(random: np.random.Generator, vectors: Floats, turns: list[Floats]) -> Floats:
    count, dim = vectors.shape
    heads = np.empty((count, len(turns), dim), np.float32)
    for start in range(0, count, _ROWS_AT_ONCE):
        part = vectors[start : start + _ROWS_AT_ONCE]
        for number, turn in enumerate(turns):
            noise = random.standard_normal(part.shape, np.float32) * (_HEAD_NOISE / np.sqrt(dim))
            heads[start : start + _ROWS_AT_ONCE, number] = _unit(part @ turn + noise)
    return heads


def _rotation(random: np.random.Generator, dim: int) -> Floats:
    return np.linalg.qr(random.normal(size=(dim, dim)))[0].astype(np.float32)


def _unit(vectors: npt.NDArray[np.floating]) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
