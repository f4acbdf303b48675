"""BM25 and hybrids by loops over every candidate, from the definitions."""

import math


def bm25(texts: list[list[str]], query: list[str], k1: float, b: float) -> list[float]:
    """Lucene's BM25 of a query for every text, both as terms; a repeated term counts each time."""
    average = sum(map(len, texts)) / len(texts)
    scores = []
    for text in texts:
        score = 0.0
        for term in query:
            frequency = sum(term in other for other in texts)
            rarity = math.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
            count = text.count(term)
            saturation = k1 * (1 - b + b * len(text) / average)
            score += rarity * count / (count + saturation) if count else 0.0
        scores.append(score)
    return scores


def hybrid(
    cosines: list[float],
    words: list[float],
    weight: float,
    depth: int,
    left_out: set[int] = frozenset(),  # type: ignore[assignment]
) -> list[tuple[int, float]]:
    """Rows and scores of the candidates that either side proposes, best first.

    weight (cosine + 1) / (best + 1) + (1 - weight) BM25 / best; the best are those of all rows.
    """

    def first(scores: list[float], allowed: list[int]) -> set[int]:
        return set(sorted(allowed, key=lambda row: (-scores[row], row))[:depth])

    allowed = [row for row in range(len(cosines)) if row not in left_out]
    pool = first(cosines, allowed) | first(words, [row for row in allowed if words[row] > 0])
    most = max(words) or 1.0
    scores = {
        row: weight * (cosines[row] + 1) / (max(cosines) + 1) + (1 - weight) * words[row] / most
        for row in pool
    }
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def feedback(
    texts: list[list[str]],
    query: list[str],
    scores: list[float],
    *,
    share: float,
    passages: int,
    most: int,
) -> dict[str, float]:
    """Rocchio's weights of a query's terms and of those of its first passages, from scores."""
    first = sorted(
        (row for row in range(len(texts)) if scores[row] > 0), key=lambda row: (-scores[row], row)
    )[:passages]
    fed: dict[str, float] = {}
    for row in first:
        impacts = {term: bm25(texts, [term], 1.2, 0.75)[row] for term in set(texts[row])}
        for term in sorted(impacts, key=lambda term: (-impacts[term], term))[:most]:
            frequency = sum(term in other for other in texts)
            rarity = math.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
            fed[term] = fed.get(term, 0.0) + rarity * scores[row]
    total = sum(fed.values())
    weights = {term: share * len(query) * weight / total for term, weight in fed.items()}
    for term in query:
        weights[term] = weights.get(term, 0.0) + (1 - share if first else 1.0)
    return weights
