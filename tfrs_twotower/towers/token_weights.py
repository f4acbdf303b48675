"""Starts the token weights of bag-of-words texts at inverse document frequencies.

The frequencies are those of the corpus, which is known before any interaction; nothing of the
validation or test window enters.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfrs_twotower.features.inputs import TowerInputs
from tfrs_twotower.layers.text_fields import BagField
from tfrs_twotower.specs import TextFeature
from tfrs_twotower.towers.tower import Tower, Towers

_LEAST_WEIGHT = 1e-3


def start_token_weights_at_idf(towers: Towers, corpus: Mapping[str, npt.NDArray[Any]]) -> None:
    """Multiplies every bag's token weights, which start at 1.

    Bags whose vocabulary no candidate uses stay as they are.

    Args:
        towers: fresh towers.
        corpus: tokens of all candidates by feature, as the candidate tower's `inputs` makes them.
    """
    documents: dict[str, list[npt.NDArray[np.int32]]] = {}
    for feature in _texts(towers.candidate.inputs):
        documents.setdefault(feature.vocabulary_name, []).append(np.asarray(corpus[feature.name]))
    for tower in (towers.query, towers.candidate):
        for feature in _texts(tower.inputs):
            tokens = documents.get(feature.vocabulary_name)
            for bag in _bags(tower, feature):
                if tokens is not None:
                    bag.start_at(inverse_document_frequency(tokens, bag.num_pieces))


def inverse_document_frequency(
    texts: Sequence[npt.NDArray[np.int32]], num_pieces: int
) -> npt.NDArray[np.float32]:
    """`log(1 + (N - n + 0.5) / (n + 0.5))`, n of N documents having the token (as in BM25).

    Args:
        texts: `[num_documents, width]` each; a document is its rows of all of them. 0 is padding.
        num_pieces: size of the vocabulary.

    Returns:
        `[num_pieces]`, at least 0.001.
    """
    tokens = np.sort(np.concatenate(texts, axis=1), axis=1)
    first = np.ones(tokens.shape, bool)
    first[:, 1:] = tokens[:, 1:] != tokens[:, :-1]
    frequency = np.bincount(tokens[first & (tokens > 0)], minlength=num_pieces)
    weights = np.log1p((len(tokens) - frequency + 0.5) / (frequency + 0.5))
    return np.maximum(weights, _LEAST_WEIGHT).astype(np.float32)


def _texts(inputs: TowerInputs) -> list[TextFeature]:
    return [feature for feature in inputs.features if isinstance(feature, TextFeature)]


def _bags(tower: Tower, feature: TextFeature) -> list[BagField]:
    encoders = tower.encoders_of(tower.inputs.features.index(feature))
    return [encoder for encoder in encoders if isinstance(encoder, BagField)]
