"""Oracle of two-stage ranking, one candidate at a time."""


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def interaction(query_heads, candidate_heads):
    """The sum over query heads of the largest inner product with a candidate head."""
    return sum(max(dot(q, c) for c in candidate_heads) for q in query_heads)


def cascade(
    query, candidates, query_heads, candidate_heads, signals, *, weights, left_out, size, k
):
    """Rows of one query: (the retrieved pool, the list of the cascade).

    Args:
        query: embedding of the query.
        candidates: embeddings in row order.
        query_heads: heads of the query, for each member.
        candidate_heads: heads in row order, for each member.
        signals: signals in row order.
        weights: weights of retrieval, each member's interaction, each signal.
        left_out: rows that must not be returned.
        size: number of candidates that are scored again.
        k: length of the list.
    """
    retrieval = {
        row: dot(query, vector) for row, vector in enumerate(candidates) if row not in left_out
    }
    pool = sorted(retrieval, key=lambda row: (-retrieval[row], row))[:size]
    final = {}
    for row in pool:
        features = [retrieval[row]]
        for own, others in zip(query_heads, candidate_heads, strict=True):
            features.append(interaction(own, others[row]))
        final[row] = dot(weights, [*features, *signals[row]])
    return pool, sorted(pool, key=lambda row: (-final[row], row))[:k]
