"""The cascade over shards, one candidate at a time. Imports nothing of the project."""


def pools_of_shards(query, vectors, final, shard_of_row, *, pool, k):
    """Rows of the best k of what every shard scores again.

    Args:
        query: embedding.
        vectors: of the candidates, in row order.
        final: final scores of the candidates.
        shard_of_row: the shard of each candidate.
        pool: how many each shard scores again.
        k: length of the list.
    """
    rows = []
    for shard in set(shard_of_row):
        own = [row for row, found in enumerate(shard_of_row) if found == shard]
        retrieval = {
            row: sum(float(a) * float(b) for a, b in zip(query, vectors[row], strict=True))
            for row in own
        }
        rows += sorted(own, key=lambda row, scores=retrieval: (-scores[row], row))[:pool]
    return sorted(rows, key=lambda row: (-final[row], row))[:k]
