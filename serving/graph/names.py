"""Names of a bundle's signatures, of what they take and of what they return.

Nothing here loads TensorFlow, so that clients can speak of a bundle without it.
"""

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

MISSING_NUMBER = -1e38
"""A number of at most this is missing, as NaN is, which most writers of JSON cannot write."""
