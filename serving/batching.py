"""`batching_params.pbtxt`: how a model server puts requests together.

Read by TensorFlow Serving with `--enable_batching --enable_per_model_batching_parameters`.
"""

from collections.abc import Sequence

BATCHING_NAME = "batching_params.pbtxt"
_TIMEOUT_MICROS = 1000
_MAX_ENQUEUED_BATCHES = 100


def batching_parameters(allowed_batch_sizes: Sequence[int]) -> str:
    """The text of a `BatchingParameters` message.

    Args:
        allowed_batch_sizes: sizes that requests are padded to; the largest is the limit.
    """
    sizes = sorted(set(allowed_batch_sizes))
    return "".join(
        [
            f"max_batch_size {{ value: {sizes[-1]} }}\n",
            f"batch_timeout_micros {{ value: {_TIMEOUT_MICROS} }}\n",
            f"max_enqueued_batches {{ value: {_MAX_ENQUEUED_BATCHES} }}\n",
            *(f"allowed_batch_sizes: {size}\n" for size in sizes),
            "# Widths of exclude_ids may differ. A request is padded with its own first element,\n",
            '# which is why column 0 of exclude_ids is always "".\n',
            "pad_variable_length_inputs: true\n",
        ]
    )
