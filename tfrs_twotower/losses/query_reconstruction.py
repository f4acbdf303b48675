"""Query reconstruction: how well a candidate's slots predict the tokens of its query.

Rows are positive pairs only. The method is that of Duan, Xie and Du (Electronics 14(9), 2025), in
the form without teacher forcing: position n of the query is predicted from slot n alone.
"""

import tensorflow as tf


def query_reconstruction(states: tf.Tensor, table: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """Cross entropy of a query's tokens: `-(1/m) sum_n log softmax(states_n table^T)[tokens_n]`.

    The output layer is the table that queries are embedded with (Press and Wolf, EACL 2017), so
    that it adds no weights, and what predicts a word stands near it. Memory is `[tokens that are
    there, num_pieces]`.

    Args:
        states: `[batch, num_slots, dim]`.
        table: `[num_pieces, dim]`, a vector for each piece; row 0 is padding and is no answer.
        tokens: `[batch, width]` int32, 0 is padding. Padding is not predicted, nor are tokens at
            positions beyond the slots; slots beyond the tokens predict nothing.

    Returns:
        `[batch]` float32, means over the m predicted tokens; 0 for a query without any.
    """
    # One slot or token too many has no partner.
    tokens = tokens[:, : tf.shape(states)[1]]
    places = tf.where(tokens > 0)
    logits = tf.matmul(tf.gather_nd(states, places), table[1:], transpose_b=True)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.gather_nd(tokens, places) - 1, logits
    )
    return tf.math.unsorted_segment_mean(losses, places[:, 0], tf.shape(tokens)[0])


def joined_tokens(texts: list[tf.Tensor]) -> tf.Tensor:
    """The tokens `[batch, width]` of several texts of a row, with all padding behind them."""
    tokens = tf.concat(texts, axis=1)
    order = tf.argsort(tf.cast(tokens == 0, tf.int32), axis=1, stable=True)
    return tf.gather(tokens, order, batch_dims=1)
