"""Oracles of the ranking metrics of one query, with loops on purpose."""

import math


def recall(ranked, relevant, k):
    """TREC: relevant candidates in the first k / all relevant candidates."""
    hits = 0
    for row in ranked[:k]:
        if row in relevant:
            hits += 1
    return hits / len(relevant)


def hit_rate(ranked, relevant, k):
    for row in ranked[:k]:
        if row in relevant:
            return 1.0
    return 0.0


def precision(ranked, relevant, k):
    hits = 0
    for row in ranked[:k]:
        if row in relevant:
            hits += 1
    return hits / k


def mrr(ranked, relevant, k):
    for rank, row in enumerate(ranked[:k], start=1):
        if row in relevant:
            return 1.0 / rank
    return 0.0


def average_precision(ranked, relevant, k):
    hits, total = 0, 0.0
    for rank, row in enumerate(ranked[:k], start=1):
        if row in relevant:
            hits += 1
            total += hits / rank
    return total / len(relevant)


def ndcg(ranked, gains, k):
    """Linear gains; `gains` maps a relevant row to its gain."""
    gained = 0.0
    for rank, row in enumerate(ranked[:k], start=1):
        gained += gains.get(row, 0.0) / math.log2(rank + 1)
    ideal = 0.0
    for rank, gain in enumerate(sorted(gains.values(), reverse=True)[:k], start=1):
        ideal += gain / math.log2(rank + 1)
    return gained / ideal


def auc(labels, scores):
    """Counts pairs one by one; a tie is half a win."""
    wins, pairs = 0.0, 0
    for i, positive in enumerate(labels):
        for j, negative in enumerate(labels):
            if positive and not negative:
                pairs += 1
                if scores[i] > scores[j]:
                    wins += 1.0
                elif scores[i] == scores[j]:
                    wins += 0.5
    return wins / pairs


def top_k(scores, k):
    """Score descending, then row ascending."""
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
    return [row for row in order if scores[row] > -math.inf][:k]
