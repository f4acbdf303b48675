"""Names and shapes of what a bundle takes and returns: the contract with its clients."""

import tensorflow as tf

SERVING_DEFAULT = "serving_default"
CANDIDATE_GENERATION = "candidate_generation"
PRE_RANKING = "pre_ranking"
QUERY_EMBEDDING = "query_embedding"
CANDIDATE_EMBEDDING = "candidate_embedding"
SERVING_EXAMPLES = "serving_examples"

EXCLUDE_IDS = "exclude_ids"
ALLOW = "allow"
DENY = "deny"
LISTS = (EXCLUDE_IDS, ALLOW, DENY)
EXAMPLES = "examples"
CANDIDATE_IDS = "candidate_ids"
SCORES = "scores"
EMBEDDING = "embedding"
MODEL_VERSION = "model_version"


def list_inputs(*, restricts: bool) -> dict[str, tf.TensorSpec]:
    """What a request adds to its query: `exclude_ids`, `allow` and `deny`, each `[batch, n]`.

    Column 0 of each is always "": a server that batches requests of different widths pads each with
    the first element of its own tensor.

    Args:
        restricts: whether the bundle has attributes that `allow` and `deny` speak of.
    """
    taken = LISTS if restricts else (EXCLUDE_IDS,)
    return {name: tf.TensorSpec([None, None], tf.string, name=name) for name in taken}


def listed_candidates() -> dict[str, tf.TensorSpec]:
    """What `pre_ranking` takes beside the query: `candidate_ids` `[batch, n]`."""
    return {CANDIDATE_IDS: tf.TensorSpec([None, None], tf.string, name=CANDIDATE_IDS)}


def example_inputs() -> dict[str, tf.TensorSpec]:
    """Serialized `tf.train.Example`s `[batch]`."""
    return {EXAMPLES: tf.TensorSpec([None], tf.string, name=EXAMPLES)}
