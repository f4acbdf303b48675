"""NumPy oracle of a mixture of logits (Zhai et al., KDD 2023), with loops on purpose."""

import numpy as np


def network(values, hidden_kernel, hidden_bias, out_kernel, out_bias):
    """One hidden layer x sigmoid(x), and a linear layer, for one vector."""
    hidden = values @ hidden_kernel + hidden_bias
    return (hidden / (1 + np.exp(-hidden))) @ out_kernel + out_bias


def mixture(query_heads, query_gates, candidate_heads, candidate_gates, weights):
    """phi = sum_ij pi_ij <f_i, g_j> of one pair; the pair ij has the place j R + i.

    Args:
        query_heads: `[R, head_dim]`.
        query_gates: `[R * H]`, a.
        candidate_heads: `[H, head_dim]`.
        candidate_gates: `[R * H]`, b.
        weights: the four weights of the network c.
    """
    products = []
    for candidate_head in candidate_heads:
        for query_head in query_heads:
            products.append(float(np.dot(query_head, candidate_head)))
    logits = query_gates * candidate_gates + network(np.array(products), *weights)
    exponentials = np.exp(logits - logits.max())
    return float(np.dot(exponentials / exponentials.sum(), products))
