"""Mixture of logits (Zhai et al., KDD 2023): a pair's score is a gated mean of products of heads.

With unit heads f_i(u) of a query, g_j(x) of a candidate, and their products d_ij = <f_i, g_j>,

    phi(u, x) = sum_ij pi_ij d_ij,    pi = softmax over all ij of a_ij(u) b_ij(x) + c_ij(d).

a, b and c are small networks. g and b need no query, so serving stores them: b's numbers follow g
in rows of the same width (`with_gates`), and are stored, scaled and refreshed like heads.
"""

from collections.abc import Sequence

import tensorflow as tf

from tfrs_twotower.layers import all_pairs
from tfrs_twotower.layers.seeded import WeightMaker

_FIRST_WEIGHTS = 0.1
_MOST_NUMBERS = 2**21


class GateNetwork(tf.Module):
    """One hidden layer with SiLU, and a linear layer; a, b and c are such networks."""

    def __init__(self, weights: WeightMaker, input_dim: int, hidden_dim: int, num_pairs: int):
        """Makes the network; its outputs start small, so that all weights pi start almost equal."""
        super().__init__(name="gate_network")
        self.weights = [
            weights.normal("hidden.kernel", [input_dim, hidden_dim], 1.0),
            weights.constant("hidden.bias", [hidden_dim], 0.0),
            weights.normal("out.kernel", [hidden_dim, num_pairs], _FIRST_WEIGHTS / hidden_dim**0.5),
            weights.constant("out.bias", [num_pairs], 0.0),
        ]

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Returns `[..., num_pairs]` for `[..., input_dim]`."""
        return gate_numbers(values, self.weights)


def gate_numbers(values: tf.Tensor, weights: Sequence[tf.Tensor]) -> tf.Tensor:
    """The numbers `[..., num_pairs]` of a network with these weights for `[..., input_dim]`."""
    hidden_kernel, hidden_bias, out_kernel, out_bias = weights
    flat = tf.reshape(values, [-1, values.shape[-1]])
    hidden = tf.nn.silu(tf.matmul(flat, hidden_kernel) + hidden_bias)
    numbers = tf.matmul(hidden, out_kernel) + out_bias
    return tf.reshape(numbers, [*tf.unstack(tf.shape(values)[:-1]), out_kernel.shape[1]])


def with_gates(heads: tf.Tensor, gates: tf.Tensor) -> tf.Tensor:
    """Appends gates `[batch, num_pairs]` to heads `[batch, num_heads, head_dim]`, as further rows.

    Zeros fill the last row.
    """
    dim = heads.shape[2]
    padded = tf.pad(gates, [[0, 0], [0, -gates.shape[1] % dim]])
    rows = tf.reshape(padded, [-1, padded.shape[1] // dim, dim])
    return tf.concat([heads, rows], axis=1)


def without_gates(rows: tf.Tensor, num_heads: int, num_pairs: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Takes `[..., rows, head_dim]` of `with_gates` apart: heads, and gates `[..., num_pairs]`."""
    gates = rows[..., num_heads:, :]
    outer = tf.unstack(tf.shape(rows)[:-2])
    gates = tf.reshape(gates, [*outer, gates.shape[-2] * gates.shape[-1]])
    return rows[..., :num_heads, :], gates[..., :num_pairs]


def mixture(products: tf.Tensor, gates: tf.Tensor) -> tf.Tensor:
    """The mean `[...]` of products `[..., num_pairs]` with weights softmax(gates)."""
    return tf.reduce_sum(tf.nn.softmax(gates) * products, axis=-1)


def listed_mixtures(
    query: tuple[tf.Tensor, tf.Tensor],
    candidates: tuple[tf.Tensor, tf.Tensor],
    weights: Sequence[tf.Tensor],
) -> tf.Tensor:
    """Scores each query with its own list of candidates.

    A pair of heads ij has the place j * R + i, for R query heads.

    Args:
        query: heads `[batch, R, head_dim]`, and a, `[batch, num_pairs]`.
        candidates: heads `[batch, n, H, head_dim]`, and b, `[batch, n, num_pairs]`.
        weights: of the network c.

    Returns:
        `[batch, n]`.
    """
    query_heads, query_gates = query
    heads, gates = candidates
    num_heads, dim = heads.shape[2:]
    batch, n, _, _ = tf.unstack(tf.shape(heads))
    flat = tf.reshape(heads, [batch, n * num_heads, dim])
    products = tf.matmul(flat, query_heads, transpose_b=True)
    products = tf.reshape(products, [batch, n, num_heads * query_heads.shape[1]])
    own = query_gates[:, tf.newaxis] * gates
    return mixture(products, own + gate_numbers(products, weights))


def all_mixtures(
    query: tuple[tf.Tensor, tf.Tensor],
    candidates: tuple[tf.Tensor, tf.Tensor],
    weights: Sequence[tf.Tensor],
) -> tf.Tensor:
    """Scores every query with every candidate.

    Args:
        query: heads `[batch, R, head_dim]`, and a, `[batch, num_pairs]`.
        candidates: heads `[columns, H, head_dim]`, and b, `[columns, num_pairs]`.
        weights: of the network c.

    Returns:
        `[batch, columns]`.
    """
    return all_pairs.in_chunks(
        _dense_mixtures,
        query,
        [*candidates, *weights],
        num_columns=tf.shape(candidates[0])[0],
        numbers_of_a_pair=weights[0].shape[0] + weights[0].shape[1],
        most_numbers=_MOST_NUMBERS,
    )


def _dense_mixtures(
    query_heads: tf.Tensor,
    query_gates: tf.Tensor,
    heads: tf.Tensor,
    gates: tf.Tensor,
    *weights: tf.Tensor,
) -> tf.Tensor:
    products = tf.einsum("rid,cjd->rcji", query_heads, heads)
    rows, columns = tf.shape(query_heads)[0], tf.shape(heads)[0]
    products = tf.reshape(products, [rows, columns, heads.shape[1] * query_heads.shape[1]])
    own = query_gates[:, tf.newaxis] * gates
    return mixture(products, own + gate_numbers(products, weights))
