"""NumPy oracles of IntTower (Li et al., CIKM 2022), with loops on purpose, one row at a time."""

import numpy as np


def interaction_scores(query_heads, candidate_heads):
    """s[i][j] = sum over query heads of the largest inner product with a candidate head.

    Args:
        query_heads: `[batch, R, head_dim]`.
        candidate_heads: `[columns, H, head_dim]`.
    """
    scores = np.zeros((len(query_heads), len(candidate_heads)))
    for i, query in enumerate(query_heads):
        for j, candidate in enumerate(candidate_heads):
            for query_head in query:
                best = -np.inf
                for candidate_head in candidate:
                    best = max(best, float(np.dot(query_head, candidate_head)))
                scores[i, j] += best
    return scores


def gradient_of_candidate_heads(query_heads, candidate_heads):
    """Gradient of the score of one pair: each query head, split among the heads that tie for it."""
    gradient = np.zeros_like(candidate_heads)
    for query_head in query_heads:
        products = [float(np.dot(query_head, head)) for head in candidate_heads]
        best = [n for n, product in enumerate(products) if product == max(products)]
        for n in best:
            gradient[n] += query_head / len(best)
    return gradient


def light_se(fields, kernel, bias):
    """Gated fields and weights of one row: squeeze by the mean, softmax, (1 + A_f) x_f."""
    logits = [float(np.dot(fields.mean(axis=1), column)) for column in kernel.T] + bias
    exponentials = np.exp(logits - np.max(logits))
    weights = exponentials / exponentials.sum()
    return np.array([(1 + a) * x for a, x in zip(weights, fields, strict=True)]), weights


def squeeze_excitation(fields, inner, outer):
    """Gated fields of one row: SENet's two relu layers without biases, (1 + A_f) x_f."""
    hidden = [max(0.0, float(np.dot(fields.mean(axis=1), column))) for column in inner.T]
    weights = [max(0.0, float(np.dot(hidden, column))) for column in outer.T]
    return np.array([(1 + a) * x for a, x in zip(weights, fields, strict=True)])


def residual_layers(fields, bias, layers):
    """Outputs of the sum and of each tanh residual layer, for one row."""
    outputs = [fields.sum(axis=0) + bias]
    for kernel, offset in layers:
        outputs.append(outputs[-1] + np.tanh(outputs[-1] @ kernel + offset))
    return outputs


def dense_layers(fields, layers):
    """Outputs of each relu layer on the concatenated fields, for one row."""
    vector, outputs = fields.reshape(-1), []
    for kernel, offset in layers:
        vector = np.maximum(vector @ kernel + offset, 0.0)
        outputs.append(vector)
    return outputs


def heads(outputs, kernels, head_dim):
    """Heads of all participating layers, in the order of the layers, for one row."""
    rows = []
    for output, kernel in zip(outputs, kernels, strict=True):
        projected = output @ kernel
        for start in range(0, len(projected), head_dim):
            rows.append(projected[start : start + head_dim])
    return np.array(rows)
