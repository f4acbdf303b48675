"""Pseudo-questions: random spans of the candidates' own texts, each with its candidate.

Where questions are few, they teach the towers which words go together in this corpus before the
real questions come (a simple form of the inverse cloze task, Lee, Chang and Toutanova 2019, in
which the span stays in its passage).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.config import PseudoQuestionsConfig
from tfrs_twotower.data.raw_inputs import missing_value
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.features.tower_inputs import TowerInputs
from tfrs_twotower.specs import TextFeature
from tfrs_twotower.towers.tower import Towers

_CHUNK = 4096
_STREAM = 2  # distinct from other uses of the run's seed
_NO_TIME = 0


def draw_spans(
    texts: Sequence[NDArray[Any]], config: PseudoQuestionsConfig, *, seed: int
) -> tuple[list[bytes], NDArray[np.int32]]:
    """Draws spans of whole words.

    A candidate's spans are taken from its texts in turn, so that a title of at most `words` words
    is a question of its own. A text with fewer words is taken whole; a candidate without words has
    no span.

    Args:
        texts: `[num_candidates]` bytes for each text feature.
        config: how many spans of how many words.
        seed: seed of the draws.

    Returns:
        `[num_spans]` spans, and the corpus rows that they are from.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, _STREAM]))
    least, most = config.words
    size = len(texts[0])
    lengths = random.integers(least, most + 1, (size, config.per_candidate))
    places = random.random((size, config.per_candidate))
    spans: list[bytes] = []
    rows: list[int] = []
    for row in range(size):
        words = [split for text in texts if (split := bytes(text[row]).split())]
        for number in range(config.per_candidate if words else 0):
            own = words[number % len(words)]
            length = min(int(lengths[row, number]), len(own))
            start = int(places[row, number] * (len(own) - length + 1))
            spans.append(b" ".join(own[start : start + length]))
            rows.append(row)
    return spans, np.array(rows, np.int32)


def make_examples(
    towers: Towers,
    corpus: Mapping[str, NDArray[Any]],
    config: PseudoQuestionsConfig,
    *,
    seed: int,
) -> ExampleTable:
    """Makes training examples of the spans of a corpus; each is a query of its own.

    Every text feature of the query holds the span, and its other features are missing.

    Args:
        towers: their inputs tokenise.
        corpus: raw features of all candidates.
        config: how many spans of how many words.
        seed: seed of the draws.
    """
    texts = [corpus[f.name] for f in towers.candidate.inputs.features if _is_text(f)]
    spans, rows = draw_spans(texts, config, seed=seed)
    size = len(spans)
    parts = [
        towers.query.inputs(_raw(towers.query.inputs, spans[start : start + _CHUNK]))
        for start in range(0, size, _CHUNK)
    ]
    return ExampleTable(
        tokens={
            name: np.concatenate([part[name].numpy() for part in parts])
            for name in (parts[0] if parts else ())
        },
        query_ids=np.array([b"%012d" % number for number in range(size)], object),
        query_rows=np.arange(size, dtype=np.int32),
        candidate_rows=rows,
        timestamps=np.full(size, _NO_TIME, np.int64),
        weights=np.ones(size, np.float32),
    )


def _raw(inputs: TowerInputs, spans: Sequence[bytes]) -> dict[str, tf.Tensor]:
    texts = {feature.name for feature in inputs.features if _is_text(feature)}
    return {
        name: tf.constant(spans)
        if name in texts
        else tf.fill([len(spans), *taken.shape[1:]], missing_value(taken.dtype))
        for name, taken in inputs.signature.items()
    }


def _is_text(feature: object) -> bool:
    return isinstance(feature, TextFeature)
