"""NumPy oracle of a plain tower after its field vectors."""

import numpy as np


def embed(field_vectors, bias, residual_layers):
    """Embeds one row at a time.

    Args:
        field_vectors: `[batch, num_fields, dim]`.
        bias: `[dim]`.
        residual_layers: pairs (kernel, bias) of tanh layers.
    """
    rows = []
    for fields in field_vectors:
        x = bias.astype(np.float64).copy()
        for vector in fields:
            x = x + vector
        for kernel, offset in residual_layers:
            x = x + np.tanh(x @ kernel + offset)
        rows.append(x / np.sqrt((x**2).sum()))
    return np.array(rows)
