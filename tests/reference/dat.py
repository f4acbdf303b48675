"""NumPy oracle of DAT (Yu et al., DLP-KDD 2021), with loops on purpose."""

import numpy as np


def gated_mimic(augmented, other, labels):
    """||y a + (1 - y) p - p||^2 of each pair, as the paper writes it."""
    return [
        float(((y * a + (1 - y) * p - p) ** 2).sum())
        for a, p, y in zip(augmented, other, labels, strict=True)
    ]


def category_alignment(embeddings, categories, rows):
    """Sum over the smaller categories of ||C(major) - C(i)||_F^2, with unbiased covariances."""
    members, seen = {}, set()
    for embedding, category, row in zip(embeddings, categories, rows, strict=True):
        if row not in seen and category > 1:
            members.setdefault(int(category), []).append(embedding)
        seen.add(row)
    kept = {c: np.array(vectors) for c, vectors in members.items() if len(vectors) >= 2}
    if not kept:
        return 0.0
    major = min(kept, key=lambda c: (-len(kept[c]), c))
    covariances = {c: np.cov(vectors, rowvar=False, ddof=1) for c, vectors in kept.items()}
    return sum(
        float(((covariances[major] - covariances[c]) ** 2).sum()) for c in kept if c != major
    )


def segment_means(table, ids, segments, num_segments):
    """Mean row of the distinct known ids of each known segment; None without known ids."""
    means = []
    for segment in range(num_segments):
        known = {i for i, s in zip(ids, segments, strict=True) if s == segment and i > 1}
        means.append(
            np.mean([table[i] for i in sorted(known)], axis=0) if known and segment > 1 else None
        )
    return means


def history_mean(memory, history):
    """Mean of the written rows of a history's candidates; None without written rows."""
    rows = [memory[i] for i in history if i > 1 and np.any(memory[i])]
    return np.mean(rows, axis=0) if rows else None


def served_vector(row, table, *substitutes):
    """The learned row of a known id, or the first available substitute, or row 1."""
    if row > 1:
        return table[row]
    for substitute in substitutes:
        if substitute is not None:
            return substitute
    return table[1]
