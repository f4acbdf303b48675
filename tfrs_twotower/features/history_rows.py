"""Which candidate each token of a history is."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.features.lookup import NUM_SPECIAL_ROWS
from tfrs_twotower.specs import FeatureSpec


def row_of_token(spec: FeatureSpec, assets: Assets, corpus: Corpus) -> NDArray[np.int32]:
    """`[2 + vocabulary size]` corpus rows; -1 at padding, unknown, and what left the corpus.

    The candidate's id, if there is one, is looked up in a vocabulary, not hashed.
    """
    feature = spec.candidate_id_feature
    ids = assets.vocabulary(feature.vocabulary_name) if feature else []
    return np.append(np.full(NUM_SPECIAL_ROWS, -1, np.int32), corpus.row_of(ids))
