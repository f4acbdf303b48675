"""Oracle of the cascade over shards, one candidate at a time."""


def pools_of_shards(query, vectors, final, shard_of_row, *, pool, k):
    """Rows of the best k of the candidates that the shards score again.

    Args:
        query: embedding of the query.
        vectors: embeddings of the candidates, in row order.
        final: final scores of the candidates.
        shard_of_row: the shard of each candidate.
        pool: number of candidates that each shard scores again.
        k: length of the list.
    """
    rows = []
    for shard in set(shard_of_row):
        own = [row for row, row_shard in enumerate(shard_of_row) if row_shard == shard]
        retrieval = {
            row: sum(float(a) * float(b) for a, b in zip(query, vectors[row], strict=True))
            for row in own
        }
        rows += sorted(own, key=lambda row, scores=retrieval: (-scores[row], row))[:pool]
    return sorted(rows, key=lambda row: (-final[row], row))[:k]
