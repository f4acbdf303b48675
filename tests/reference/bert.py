"""NumPy oracle of the BERT encoder (Devlin et al. 2019), from the tensors of a checkpoint.

Tensor names and the `[out, in]` layout of dense weights are those of the published checkpoints. The
oracle encodes one text at a time, one head at a time.
"""

import math

import numpy as np


def gelu(x):
    """x * Phi(x), with the exact normal distribution function."""
    return x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


def softmax(x):
    """Softmax over the last axis."""
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def layer_norm(x, scale, offset, epsilon):
    """Normalisation over the last axis, with the biased variance."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return scale * (x - mean) / np.sqrt(variance + epsilon) + offset


def attention(x, query, key, value, output, num_heads):
    """Self-attention without padding; each argument is a pair (kernel `[in, out]`, bias)."""
    q, k, v = (x @ kernel + bias for kernel, bias in (query, key, value))
    head_dim = x.shape[1] // num_heads
    mixed = np.zeros_like(x)
    for head in range(num_heads):
        part = slice(head * head_dim, (head + 1) * head_dim)
        scores = q[:, part] @ k[:, part].T / math.sqrt(head_dim)
        mixed[:, part] = softmax(scores) @ v[:, part]
    return mixed @ output[0] + output[1]


def encode(tensors, tokens, num_heads, epsilon):
    """Vectors `[num_tokens, dim]` of one text's token ids, without padding."""

    def dense(name):
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return weight.T.astype(np.float64), bias.astype(np.float64)

    def norm(x, name):
        return layer_norm(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], epsilon)

    x = tensors["embeddings.word_embeddings.weight"][tokens].astype(np.float64)
    x = x + tensors["embeddings.position_embeddings.weight"][: len(tokens)]
    x = x + tensors["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    number = 0
    while f"encoder.layer.{number}.output.dense.weight" in tensors:
        layer = f"encoder.layer.{number}"
        parts = [dense(f"{layer}.attention.self.{p}") for p in ("query", "key", "value")]
        attended = attention(x, *parts, dense(f"{layer}.attention.output.dense"), num_heads)
        x = norm(x + attended, f"{layer}.attention.output.LayerNorm")
        inner_kernel, inner_bias = dense(f"{layer}.intermediate.dense")
        outer_kernel, outer_bias = dense(f"{layer}.output.dense")
        change = gelu(x @ inner_kernel + inner_bias) @ outer_kernel + outer_bias
        x = norm(x + change, f"{layer}.output.LayerNorm")
        number += 1
    return x
