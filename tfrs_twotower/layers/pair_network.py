"""A network over the heads of a pair, as a pre-ranker of a bounded cost (COLD).

With the unit heads f_i of a query and g_j of a candidate, and their products d_ij = <f_i, g_j>,

    s = sum_ij l_ij d_ij + w relu(... relu(F f + G g + D d + b) ...).

COLD (Wang et al., DLP-KDD 2020) feeds a few groups of features, crosses of query and candidate
among them, to fully connected layers that a budget of time allows. Here the groups are heads, and
the crosses their products. F f needs no candidate and is computed once for a query.
"""

from collections.abc import Sequence

import tensorflow as tf

from tfrs_twotower.layers import all_pairs
from tfrs_twotower.layers.seeded import WeightMaker

_MOST_NUMBERS = 2**21
_FIRST_WEIGHTS = 0.1


class PairNetwork(tf.Module):
    """The weights l, F, G, D and b, then kernel and bias of each further layer, and w."""

    def __init__(
        self,
        weights: WeightMaker,
        query_shape: tuple[int, int],
        num_heads: int,
        dims: Sequence[int],
    ) -> None:
        """Makes the weights; the score starts close to the mean of the products.

        Args:
            weights: makes them.
            query_shape: number of heads of a query, and their dimension.
            num_heads: number of heads of a candidate.
            dims: widths of the layers.
        """
        super().__init__(name="pair_network")
        num_query_heads, dim = query_shape
        num_products = num_query_heads * num_heads
        # A head has length 1, so that each input adds about 1 to the variance of the first layer.
        inputs = {
            "query": (num_query_heads * dim, num_query_heads),
            "candidate": (num_heads * dim, num_heads),
            "products": (num_products, num_products),
        }
        self.weights = [
            weights.constant("linear", [num_products], 1.0 / num_products),
            *(
                weights.normal(f"{name}.kernel", [size, dims[0]], num_units**-0.5)
                for name, (size, num_units) in inputs.items()
            ),
            weights.constant("layer_0.bias", [dims[0]], 0.0),
        ]
        for number, (width, wider) in enumerate(zip(dims[1:], dims, strict=False), 1):
            kernel = weights.normal(f"layer_{number}.kernel", [wider, width], (2.0 / wider) ** 0.5)
            self.weights += [kernel, weights.constant(f"layer_{number}.bias", [width], 0.0)]
        self.weights.append(
            weights.normal("out.kernel", [dims[-1], 1], _FIRST_WEIGHTS / dims[-1] ** 0.5)
        )


def listed_scores(
    query_heads: tf.Tensor, candidate_heads: tf.Tensor, weights: Sequence[tf.Tensor]
) -> tf.Tensor:
    """Scores each query with its own list of candidates.

    The product of the query head i and the candidate head j has the place j * R + i, for R query
    heads.

    Args:
        query_heads: `[batch, R, head_dim]`.
        candidate_heads: `[batch, n, H, head_dim]`.
        weights: those of a `PairNetwork`.

    Returns:
        `[batch, n]`.
    """
    num_heads, dim = candidate_heads.shape[2:]
    batch, n, _, _ = tf.unstack(tf.shape(candidate_heads))
    flat = tf.reshape(candidate_heads, [batch, n * num_heads, dim])
    products = tf.matmul(flat, query_heads, transpose_b=True)
    products = tf.reshape(products, [batch * n, num_heads * query_heads.shape[1]])
    _, of_query, of_candidate, *_ = weights
    own = tf.matmul(_flat(query_heads), of_query)
    others = tf.matmul(tf.reshape(candidate_heads, [batch * n, num_heads * dim]), of_candidate)
    shares = tf.repeat(own, n, axis=0) + others
    return tf.reshape(_outputs(products, shares, weights), [batch, n])


def all_scores(
    query_heads: tf.Tensor, candidate_heads: tf.Tensor, weights: Sequence[tf.Tensor]
) -> tf.Tensor:
    """Scores every query with every candidate, in chunks of the queries.

    Args:
        query_heads: `[batch, R, head_dim]`.
        candidate_heads: `[columns, H, head_dim]`.
        weights: those of a `PairNetwork`.

    Returns:
        `[batch, columns]`.
    """
    widths = [weight.shape[-1] for weight in weights[4:-1:2]]
    return all_pairs.in_chunks(
        _dense_scores,
        [query_heads],
        [candidate_heads, *weights],
        num_columns=tf.shape(candidate_heads)[0],
        numbers_of_a_pair=weights[0].shape[0] + sum(widths),
        most_numbers=_MOST_NUMBERS,
    )


def _dense_scores(
    query_heads: tf.Tensor, candidate_heads: tf.Tensor, *weights: tf.Tensor
) -> tf.Tensor:
    products = tf.einsum("rid,cjd->rcji", query_heads, candidate_heads)
    rows, columns = tf.shape(query_heads)[0], tf.shape(candidate_heads)[0]
    _, of_query, of_candidate, *_ = weights
    own = tf.matmul(_flat(query_heads), of_query)
    others = tf.matmul(_flat(candidate_heads), of_candidate)
    shares = own[:, tf.newaxis] + others[tf.newaxis]
    num_products = candidate_heads.shape[1] * query_heads.shape[1]
    scores = _outputs(
        tf.reshape(products, [rows * columns, num_products]),
        tf.reshape(shares, [rows * columns, of_query.shape[1]]),
        weights,
    )
    return tf.reshape(scores, [rows, columns])


def _flat(heads: tf.Tensor) -> tf.Tensor:
    return tf.reshape(heads, [-1, heads.shape[1] * heads.shape[2]])


def _outputs(products: tf.Tensor, shares: tf.Tensor, weights: Sequence[tf.Tensor]) -> tf.Tensor:
    """`[pairs]` for products `[pairs, R * H]` and what both sides add to the first layer."""
    linear, _, _, of_products, bias, *further, out = weights
    hidden = tf.nn.relu(shares + tf.matmul(products, of_products) + bias)
    for kernel, bias in zip(further[::2], further[1::2], strict=True):
        hidden = tf.nn.relu(tf.matmul(hidden, kernel) + bias)
    scores = tf.matmul(products, linear[:, tf.newaxis]) + tf.matmul(hidden, out)
    return scores[:, 0]
