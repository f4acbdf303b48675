"""The fused operation alone, on tables that the tests pack themselves."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import large_pages

LOWEST = np.finfo(np.float32).min


def pack(members, constants, storage):
    """Bytes of a table, as `second_stage.h` describes a row, and the heads that it stands for."""
    numbers, entries, kept = [constants[:, None]], [], []
    for heads in members:
        flat = heads.reshape(len(heads), -1)
        if storage == "int8":
            scales = np.maximum(np.abs(heads).max(axis=2) / 127.0, 1e-30).astype(np.float32)
            codes = np.rint(heads / scales[:, :, None]).astype(np.int8)
            numbers.append(scales)
            flat = codes.reshape(len(heads), -1)
            heads = codes * scales[:, :, None]
        entries.append(np.ascontiguousarray(flat).view(np.uint8))
        kept.append(heads)
    whole = np.concatenate(numbers, axis=1).astype(np.float32).view(np.uint8)
    table = np.concatenate([whole, *entries], axis=1)
    return np.pad(table, [(0, 0), (0, -table.shape[1] % 64)]), kept


def expected(kept, constants, queries, factors, rows, given, k):
    """The same in NumPy, one candidate at a time."""
    found_scores = np.full((len(rows), k), LOWEST, np.float32)
    found_rows = np.full((len(rows), k), -1)
    for line, listed in enumerate(rows):
        scored = []
        for place, row in enumerate(listed):
            if row < 0:
                continue
            score = given[line, place] + constants[row]
            for heads, query, factor in zip(kept, queries, factors, strict=True):
                score += factor * (query[line] @ heads[row].T).max(axis=1).sum()
            if np.isfinite(score):
                scored.append((-score, row))
        for place, (score, row) in enumerate(sorted(scored)[:k]):
            found_scores[line, place], found_rows[line, place] = -score, row
    return found_scores, found_rows


def ask(operation, table, rows, given, queries, factors, storage, k, num_candidate_heads):
    variable = tf.Variable(table)
    batch = len(rows)
    flat = [query.reshape(batch, query.shape[1] * query.shape[2]) for query in queries]
    return operation(
        table=variable.handle,
        rows=rows.astype(np.int32),
        scores=given.astype(np.float32),
        query_heads=np.concatenate([np.zeros((batch, 0), np.float32), *flat], axis=1),
        num_query_heads=[query.shape[1] for query in queries],
        num_candidate_heads=num_candidate_heads,
        head_dims=[query.shape[2] for query in queries],
        factors=factors,
        storage=storage,
        k=k,
    )


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_by_hand(second_stage, storage):
    """Two heads of 16, of which two entries are not 0; the second candidate's best head differs."""
    heads = np.zeros((3, 2, 16), np.float32)
    heads[0, 0, 0], heads[0, 1, 1] = 127.0, 127.0
    heads[1, 0, 0], heads[1, 1, 1] = -127.0, 127.0
    constants = np.array([1.0, 2.0, 5.0], np.float32)
    query = np.zeros((1, 1, 16), np.float32)
    query[0, 0, :2] = 3.0, 2.0
    table, _ = pack([heads], constants, storage)
    rows, given = np.array([[2, 1, 0, -1]]), np.array([[10.0, 20.0, 30.0, 99.0]])
    scores, found = ask(second_stage, table, rows, given, [query], [0.5], storage, 5, [2])
    # 0: 30 + 1 + .5 * 127 * 3; 1: 20 + 2 + .5 * 127 * 2; 2: 10 + 5.
    np.testing.assert_allclose(scores, [[221.5, 149.0, 15.0, LOWEST, LOWEST]], rtol=1e-6)
    np.testing.assert_array_equal(found, [[0, 1, 2, -1, -1]])


@pytest.mark.parametrize("storage", ["float32", "int8"])
@pytest.mark.parametrize(
    "shapes",
    [[(4, 4, 64)], [(1, 1, 208)], [(5, 3, 32), (1, 1, 16), (4, 9, 48)], []],
    ids=lambda shapes: "+".join("x".join(map(str, shape)) for shape in shapes) or "none",
)
def test_it_is_what_numpy_says(second_stage, storage, shapes):
    random = np.random.default_rng(len(shapes))
    count, batch, listed, k = 50, 3, 33, 7
    members = [random.normal(size=(count, h, d)).astype(np.float32) for _, h, d in shapes]
    queries = [random.normal(size=(batch, r, d)).astype(np.float32) for r, _, d in shapes]
    factors = [0.3, -0.7, 1.1][: len(shapes)]
    constants = random.normal(size=count).astype(np.float32)
    rows = np.stack([random.permutation(count)[:listed] for _ in range(batch)])
    rows[0, :5] = -1
    rows[2, 6:] = -1
    given = random.normal(size=(batch, listed)).astype(np.float32)
    given[1, 3], given[1, 4], given[1, 5] = np.nan, np.inf, -np.inf
    table, kept = pack(members, constants, storage)
    heads = [h for _, h, _ in shapes]
    scores, found = ask(second_stage, table, rows, given, queries, factors, storage, k, heads)
    wanted_scores, wanted = expected(kept, constants, queries, factors, rows, given, k)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-5, atol=1e-5)


def test_equal_scores_are_in_row_order_and_minus_zero_is_zero(second_stage):
    table, _ = pack([], np.zeros(9, np.float32), "float32")
    rows = np.array([[7, 3, 8, 1, 5]])
    given = np.array([[0.0, -0.0, 1.0, -0.0, 0.0]])
    _, found = ask(second_stage, table, rows, given, [], [], "float32", 4, [])
    np.testing.assert_array_equal(found, [[8, 1, 3, 5]])


@pytest.mark.parametrize(("batch", "listed"), [(0, 4), (2, 0)])
def test_nothing_asked_or_nothing_listed(second_stage, batch, listed):
    table, _ = pack([], np.zeros(9, np.float32), "int8")
    rows, given = np.zeros((batch, listed), int), np.zeros((batch, listed))
    scores, found = ask(second_stage, table, rows, given, [], [], "int8", 3, [])
    assert scores.shape == found.shape == (batch, 3)
    assert (found.numpy() == -1).all()


@pytest.mark.parametrize("row", [9, 2**31 - 1])
def test_a_row_behind_the_table_is_refused(second_stage, row):
    table, _ = pack([], np.zeros(9, np.float32), "int8")
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"row {row} of a table of 9"):
        ask(second_stage, table, np.array([[8, row]]), np.zeros((1, 2)), [], [], "int8", 1, [])


def test_hostile_inputs_are_refused_or_answered(second_stage):
    """10,000 calls with shapes, rows, numbers and tables of every kind; the process lives on."""
    random = np.random.default_rng(1)
    tables = [
        tf.Variable(random.integers(0, 256, (rows, width), np.uint8))
        for rows, width in ((0, 64), (1, 64), (5, 4), (5, 66), (5, 128), (7, 384))
    ]
    tables += [tf.Variable(np.zeros(7, np.uint8)), tf.Variable(np.zeros((5, 128), np.float32))]
    refused = answered = 0
    for _ in range(10_000):
        batch, listed = random.integers(0, 3, 2)
        number = random.integers(-1, 3)
        dims = random.choice([16, 16, 16, 32, 8, 0, -1, 1 << 40], max(number, 0))
        heads = random.choice([1, 1, 2, 3, 0, -5, 1 << 62], (2, max(number, 0)))
        width = int(np.clip((heads[0] * dims).sum(), 0, 200)) + (random.random() < 0.1)
        rows = random.integers(-2, 7, (batch, listed)).astype(np.int32)
        if random.random() < 0.2:
            rows = random.choice([np.iinfo(np.int32).max, np.iinfo(np.int32).min], rows.shape)
        given = random.normal(size=(batch, listed + (random.random() < 0.1)))
        try:
            scores, found = second_stage(
                table=tables[random.integers(len(tables))].handle,
                rows=rows.astype(np.int32),
                scores=given.astype(np.float32),
                query_heads=np.full((batch, width), random.choice([1.0, np.nan, 1e38]), np.float32),
                num_query_heads=heads[0].tolist(),
                num_candidate_heads=heads[1].tolist(),
                head_dims=dims.tolist(),
                factors=[0.5] * max(number, 0),
                storage=random.choice(["float32", "int8"]),
                k=int(random.integers(1, 4)),
            )
        except (tf.errors.InvalidArgumentError, ValueError):
            refused += 1
            continue
        answered += 1
        assert np.isfinite(scores.numpy()).all()
        assert np.isin(found.numpy(), [-1, *rows.ravel()]).all()
    assert refused > 1000
    assert answered > 1000


@large_pages.needed
def test_a_table_moves_into_large_pages_when_it_is_first_read(second_stage):
    table = tf.Variable(tf.zeros([1_000_000, 64], tf.uint8))
    arguments = {
        "table": table.handle,
        "rows": [[999_999, 0]],
        "scores": [[1.0, 2.0]],
        "query_heads": tf.zeros([1, 16]),
        "num_query_heads": [1],
        "num_candidate_heads": [1],
        "head_dims": [16],
        "factors": [1.0],
        "storage": "int8",
        "k": 2,
    }
    first = second_stage(**arguments)
    assert large_pages.wait_for(table)
    for found, again in zip(first, second_stage(**arguments), strict=True):
        np.testing.assert_array_equal(found, again)
