import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.layers.fixed_dimensional import Buckets
from tfrs_twotower.layers.late_interaction import TokenVectors
from tfrs_twotower.layers.seeded import WeightMaker

DIM = 6


def texts(seed, batch=4, width=5, least=1):
    """Unit vectors, the last ones of a text missing and arbitrary, and weights."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(batch, width, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    present = np.arange(width) < random.integers(least, width + 1, (batch, 1))
    weights = (random.uniform(0.5, 2.0, (batch, width)) * present).astype(np.float32)
    return TokenVectors(tf.constant(vectors), tf.constant(weights))


def estimates(buckets, queries, candidates):
    products = tf.matmul(buckets.query(queries), buckets.candidate(candidates), transpose_b=True)
    return products.numpy() - 1e-6


def cosines(queries, candidates):
    """Shares `[batch, w]`, cosines `[batch, columns, w, v]`, and which tokens v are there."""
    shares = queries.weights.numpy()
    shares = shares / shares.sum(axis=1, keepdims=True)
    products = np.einsum("bwd,cvd->bcwv", queries.vectors, candidates.vectors)
    return shares, products, candidates.weights.numpy() > 0


def max_sim(queries, candidates):
    shares, products, present = cosines(queries, candidates)
    best = np.where(present[None, :, None], products, -np.inf).max(axis=3)
    return np.einsum("bw,bcw->bc", shares, best)


def buckets_of(bits, repetitions=3, seed=1):
    return Buckets(WeightMaker(seed), DIM, repetitions, bits)


def oracle(planes, vectors, weights, *, is_query):
    """One row, with loops."""
    parts = []
    there = np.flatnonzero(weights > 0)
    shares = weights / weights.sum() if len(there) else weights
    for of_repetition in planes:
        hashes = [tuple(plane @ vectors[i] > 0 for plane in of_repetition) for i in there]
        for number in range(2 ** len(of_repetition)):
            bucket = tuple(bool(number >> bit & 1) for bit in range(len(of_repetition)))
            distances = [sum(a != b for a, b in zip(one, bucket, strict=True)) for one in hashes]
            if is_query:
                chosen = [i for i, one in zip(there, distances, strict=True) if one == 0]
                parts.append(sum((shares[i] * vectors[i] for i in chosen), np.zeros(DIM)))
            else:
                least = min(distances, default=0)
                chosen = [i for i, one in zip(there, distances, strict=True) if one == least]
                parts.append(np.mean(vectors[chosen], axis=0) if chosen else np.zeros(DIM))
    return np.append(np.concatenate(parts) / len(planes) ** 0.5, 1e-3)


@pytest.mark.parametrize("bits", [0, 1, 3])
def test_encodings_are_the_oracles(bits):
    buckets = buckets_of(bits)
    planes = buckets._planes.numpy()
    for is_query, encode in ((True, buckets.query), (False, buckets.candidate)):
        text = texts(2 + bits, least=0)
        expected = [
            oracle(planes, *row, is_query=is_query)
            for row in zip(text.vectors.numpy(), text.weights.numpy(), strict=True)
        ]
        np.testing.assert_allclose(encode(text), expected, atol=1e-6)


@pytest.mark.parametrize("bits", [0, 2, 4])
def test_a_candidate_of_one_token_is_scored_exactly(bits):
    queries, candidates = texts(3), texts(4, width=1)
    np.testing.assert_allclose(
        estimates(buckets_of(bits), queries, candidates), max_sim(queries, candidates), atol=1e-6
    )


def test_without_hyperplanes_it_is_the_mean_token():
    queries, candidates = texts(5), texts(6)
    shares, products, present = cosines(queries, candidates)
    means = (products * present[None, :, None]).sum(axis=3) / present.sum(axis=1)[None, :, None]
    expected = np.einsum("bw,bcw->bc", shares, means)
    np.testing.assert_allclose(estimates(buckets_of(0), queries, candidates), expected, atol=1e-6)


def test_the_error_falls_with_repetitions():
    """Its spread does, down to that of the expected estimates about MaxSim."""
    queries, candidates = texts(7, batch=40), texts(8, batch=40)
    exact = max_sim(queries, candidates)
    errors = [
        np.std(estimates(buckets_of(3, repetitions), queries, candidates) - exact)
        for repetitions in (1, 4, 64)
    ]
    assert errors[0] > 1.2 * errors[1]
    assert errors[1] > 1.1 * errors[2]


def test_the_order_of_tokens_does_not_matter():
    queries, candidates, buckets = texts(9), texts(10), buckets_of(3)
    turned = TokenVectors(candidates.vectors[:, ::-1], candidates.weights[:, ::-1])
    np.testing.assert_allclose(buckets.candidate(turned), buckets.candidate(candidates), atol=1e-6)
    turned = TokenVectors(queries.vectors[:, ::-1], queries.weights[:, ::-1])
    np.testing.assert_allclose(buckets.query(turned), buckets.query(queries), atol=1e-6)


def test_a_row_without_tokens_is_not_zero():
    nothing = TokenVectors(tf.ones([1, 3, DIM]), tf.zeros([1, 3]))
    for encode in (buckets_of(2).query, buckets_of(2).candidate):
        np.testing.assert_allclose(encode(nothing)[0], [0.0] * (3 * 4 * DIM) + [1e-3])
