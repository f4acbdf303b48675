"""NumPy oracle of a network over heads (after COLD: Wang et al., DLP-KDD 2020), with loops."""

import numpy as np


def score(query_heads, candidate_heads, weights):
    """Weighted sum of the products, plus the network's output, of one pair.

    Args:
        query_heads: `[R, head_dim]`.
        candidate_heads: `[H, head_dim]`.
        weights: l, the kernels of query, candidate and products, then bias and kernel in turn.
    """
    linear, of_query, of_candidate, of_products, *layers = weights
    products = []
    for candidate_head in candidate_heads:
        for query_head in query_heads:
            products.append(float(np.dot(query_head, candidate_head)))
    inputs = np.concatenate([query_heads.ravel(), candidate_heads.ravel(), products])
    kernels = [np.concatenate([of_query, of_candidate, of_products]), *layers[1::2]]
    biases = layers[:-1:2]
    hidden = inputs
    for kernel, bias in zip(kernels[:-1], biases, strict=True):
        hidden = np.maximum(hidden @ kernel + bias, 0.0)
    return float(np.dot(linear, products) + (hidden @ kernels[-1])[0])
