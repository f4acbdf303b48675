"""NumPy oracle of query slots (Duan, Xie, Du 2025), one text and one head at a time.

Weights are a mapping by name; `part.kernel` is `[in, out]`.
"""

import numpy as np

from tests.reference.bert import gelu, layer_norm, softmax

EPSILON = 1e-6


def attend(x, source, weights, prefix, num_heads):
    """Multi-head attention of the rows of x over those of source; both without padding."""
    projected = {}
    for part, rows in (("query", x), ("key", source), ("value", source)):
        bias = weights.get(f"{prefix}{part}.bias", 0.0)
        projected[part] = rows @ weights[f"{prefix}{part}.kernel"] + bias
    dim = x.shape[1] // num_heads
    mixed = np.zeros_like(x)
    for row in range(len(x)):
        for head in range(num_heads):
            part = slice(head * dim, (head + 1) * dim)
            scores = [projected["query"][row, part] @ key[part] for key in projected["key"]]
            shares = softmax(np.array(scores) / np.sqrt(dim))
            for share, value in zip(shares, projected["value"], strict=True):
                mixed[row, part] += share * value[part]
    return mixed @ weights[f"{prefix}output.kernel"] + weights[f"{prefix}output.bias"]


def norm(x, weights, prefix):
    """Layer normalisation with the weights under a prefix."""
    return layer_norm(x, weights[f"{prefix}scale"], weights[f"{prefix}offset"], EPSILON)


def cross(x, source, weights, prefix, num_heads):
    """`x + attention(norm(x); source)`."""
    normalised = norm(x, weights, f"{prefix}norm.")
    return x + attend(normalised, source, weights, f"{prefix}attention.", num_heads)


def decode(tokens, weights, prefix, num_layers, num_heads):
    """States of the slots from the vectors of a text's tokens."""
    states = weights[f"{prefix}slots"].astype(np.float64)
    for number in range(num_layers):
        states = cross(states, tokens, weights, f"{prefix}reading_{number}.", num_heads)
        layer = f"{prefix}layer_{number}."
        each_other = norm(states, weights, f"{layer}attention_norm.")
        states = states + attend(each_other, each_other, weights, f"{layer}attention.", num_heads)
        inner = norm(states, weights, f"{layer}feed_forward_norm.")
        inner = inner @ weights[f"{layer}feed_forward.inner.kernel"]
        inner = gelu(inner + weights[f"{layer}feed_forward.inner.bias"])
        states = states + inner @ weights[f"{layer}feed_forward.outer.kernel"]
        states = states + weights[f"{layer}feed_forward.outer.bias"]
    return norm(states, weights, f"{prefix}norm.")


def reconstruction(states, table, tokens):
    """-(1/m) sum_n log p(tokens_n | states_n) of each row; row 0 of the table is no answer."""
    losses = []
    for row_states, row_tokens in zip(states, tokens, strict=True):
        surprises = []
        for state, token in zip(row_states, row_tokens, strict=False):
            if token != 0:
                logits = np.array([state @ piece for piece in table[1:]])
                surprises.append(np.log(np.exp(logits).sum()) - logits[token - 1])
        losses.append(np.mean(surprises) if surprises else 0.0)
    return np.array(losses)
