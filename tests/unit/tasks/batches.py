"""Embedded batches that are made without towers."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.tasks.objective import EmbeddedBatch, MinedLists
from tfrs_twotower.towers.tower import TowerOutput

HEADS, HEAD_DIM = 2, 3


def batch_of(queries, candidates, *, hidden=None, **others):
    """One replica's batch: row i is query i and candidate i; other rows are negatives."""
    rows = tf.range(len(queries))
    if hidden is None:
        hidden = tf.eye(len(queries)) > 0
    queries, candidates = (TowerOutput(tf.cast(x, tf.float32)) for x in (queries, candidates))
    values = {
        "query": queries,
        "candidate": candidates,
        "query_tokens": {},
        "query_rows": rows,
        "candidate_rows": rows,
        "all_query": queries,
        "all_candidate": candidates,
        "all_candidate_tokens": {},
        "all_query_rows": rows,
        "all_candidate_rows": rows,
        "positive_columns": rows,
        "drawn": None,
        "columns": candidates.embedding,
        "expected": None,
        "sampled_expected": None,
        "hidden": hidden,
        "reverse_hidden": tf.transpose(hidden),
    }
    return EmbeddedBatch(**{**values, **others})


def second_share(seed):
    """The second of two replicas' shares of six pairs, with all kinds of negatives.

    Columns are six positives, four drawn candidates, and five candidates of earlier batches. There
    are three query layers with two heads each. Each row has a list of three candidates, some of
    which may be padding.
    """
    random = np.random.default_rng(seed)

    def output(size, heads, layers):
        vectors = random.normal(size=(size, 8)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        shape = (size, heads * layers, HEAD_DIM)
        return TowerOutput(
            tf.constant(vectors),
            tf.constant(random.normal(size=shape).astype(np.float32)),
            tf.constant(random.normal(size=(size, 8)).astype(np.float32)),
        )

    query, candidate = output(6, HEADS, 3), output(6, HEADS, 1)
    drawn, mined = output(4, HEADS, 1), output(7, HEADS, 1)
    stored = output(5, HEADS, 1).embedding
    logits = random.normal(size=(3, 4)).astype(np.float32)
    present = random.random((3, 4)) < 0.7
    present[:, 0] = True
    query_rows = np.array([0, 1, 2, 0, 4, 5], np.int32)
    candidate_rows = np.array([0, 1, 2, 3, 4, 1], np.int32)
    expected = random.uniform(0.2, 3.0, 15).astype(np.float32)
    return EmbeddedBatch(
        query=_rows(query, 3),
        candidate=_rows(candidate, 3),
        query_tokens={},
        query_rows=tf.constant(query_rows[3:]),
        candidate_rows=tf.constant(candidate_rows[3:]),
        all_query=query,
        all_candidate=candidate,
        all_candidate_tokens={"genre": tf.constant([2, 2, 3, 2, 3, 2])},
        all_query_rows=tf.constant(query_rows),
        all_candidate_rows=tf.constant(candidate_rows),
        positive_columns=tf.constant([3, 4, 5]),
        drawn=drawn,
        columns=tf.concat([candidate.embedding, drawn.embedding, stored], axis=0),
        expected=tf.constant(expected),
        sampled_expected=tf.constant(expected[:10] * 0.4),
        hidden=tf.constant(random.random((3, 15)) < 0.3),
        reverse_hidden=tf.constant(random.random((3, 6)) < 0.3),
        mined=MinedLists(
            candidates=mined,
            hidden=tf.constant(random.random((3, 7)) < 0.3),
            present=tf.constant(present),
            logits=tf.constant(logits),
            teacher=tf.constant(random.normal(size=(3, 4)).astype(np.float32)),
        ),
    )


def _rows(output, start):
    return TowerOutput(*(None if part is None else part[start:] for part in output))
