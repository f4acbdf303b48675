"""Names and shapes of what a bundle takes and returns: the contract with its clients."""

import tensorflow as tf

from tfrs_twotower.data.raw_inputs import raw_signature
from tfrs_twotower.specs import FeatureSpec

SERVING_DEFAULT = "serving_default"
CANDIDATE_GENERATION = "candidate_generation"
QUERY_EMBEDDING = "query_embedding"
CANDIDATE_EMBEDDING = "candidate_embedding"
SERVING_EXAMPLES = "serving_examples"

EXCLUDE_IDS = "exclude_ids"
EXAMPLES = "examples"
CANDIDATE_IDS = "candidate_ids"
SCORES = "scores"
EMBEDDING = "embedding"
MODEL_VERSION = "model_version"


def query_inputs(spec: FeatureSpec) -> dict[str, tf.TensorSpec]:
    """Every query feature by its name, `[batch]` or `[batch, width]`."""
    return raw_signature(spec.query.features)


def candidate_inputs(spec: FeatureSpec) -> dict[str, tf.TensorSpec]:
    """Every candidate feature by its name, `[batch]` or `[batch, width]`."""
    return raw_signature(spec.candidate.features)


def retrieval_inputs(spec: FeatureSpec) -> dict[str, tf.TensorSpec]:
    """Query features and `exclude_ids` `[batch, n]`.

    Column 0 of `exclude_ids` is always "": a server that batches requests of different widths pads
    each with the first element of its own tensor.
    """
    exclude = tf.TensorSpec([None, None], tf.string, name=EXCLUDE_IDS)
    return {**query_inputs(spec), EXCLUDE_IDS: exclude}


def example_inputs() -> dict[str, tf.TensorSpec]:
    """Serialized `tf.train.Example`s `[batch]`."""
    return {EXAMPLES: tf.TensorSpec([None], tf.string, name=EXAMPLES)}
