"""Mined negatives of a round of training: drawn for the examples of a batch, and embedded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.data.negative_lists import RoundNegatives, draw_places
from tfrs_twotower.tasks.objective import MinedNegatives
from tfrs_twotower.towers.tower import Towers
from tfrs_twotower.training import gradient_caching, negatives, warm_start
from tfrs_twotower.training.fitting import Examples

_STREAM = 1 << 35  # distinct from other uses of the run's seed, to which steps are added


@dataclass(frozen=True)
class Round:
    """What a round of training begins with.

    Attributes:
        before: the towers of the round before; None in round 0.
        negatives: directory of the mined negatives; None in a round 0 without a warm start.
    """

    before: warm_start.WarmStart | None
    negatives: Path | None


@dataclass(frozen=True)
class MinedExamples:
    """Examples, each with some of its mined negatives, which are drawn anew in every step.

    Attributes:
        examples: the examples.
        candidate_rows: `[num_examples]` corpus row of each example's positive.
        lists: what was mined for them.
        num_negatives: candidates, and queries if there are any, drawn for an example.
        seed: seed of the draws.
    """

    examples: Examples
    candidate_rows: NDArray[np.int32]
    lists: RoundNegatives
    num_negatives: int
    seed: int

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def groups(self) -> NDArray[np.integer] | None:
        """Those of the examples."""
        return self.examples.groups

    def batch(self, positions: NDArray[np.integer], step: int) -> dict[str, Any]:
        """The batch of the examples, with the keys `mined_*` that `TwoTowerModel` documents."""
        batch = self.examples.batch(positions, step)
        random = np.random.Generator(np.random.Philox(key=[self.seed, _STREAM + step]))
        batch["mined_rows"] = draw(self.lists.rows[positions], self.num_negatives, random)
        if self.lists.queries is not None:
            lists = self.lists.queries[self.candidate_rows[positions]]
            drawn = draw(lists, self.num_negatives, random)
            batch["mined_queries_present"] = drawn >= 0
            of_queries = self.examples.batch(np.maximum(drawn, 0).ravel(), step)
            batch["mined_query_tokens"] = of_queries["tokens"]
        return batch


def draw(
    lists: NDArray[np.int32], num_negatives: int, random: np.random.Generator
) -> NDArray[np.int32]:
    """Draws some entries of each list without repetition.

    Args:
        lists: `[batch, ranks]`, -1 for padding.
        num_negatives: number to draw.
        random: source of the draws.

    Returns:
        `[batch, num_negatives]`, -1 only where a list is shorter.
    """
    return np.take_along_axis(lists, draw_places(lists, num_negatives, random), axis=1)


def embed_negatives(
    towers: Towers,
    sampling: negatives.NegativeSampling,
    inputs: dict[str, Any],
    encode: gradient_caching.Encode,
) -> MinedNegatives | None:
    """Embeds the mined negatives of a batch; None if it has none.

    Args:
        towers: both towers.
        sampling: has the tokens of the corpus.
        inputs: the batch.
        encode: embeds tokens with a tower.
    """
    if "mined_rows" not in inputs:
        return None
    rows = inputs["mined_rows"]
    # Padding is one of the distinct rows; it counts for no example, so its tokens do not matter.
    distinct, places = tf.unique(tf.reshape(rows, [-1]))
    embedded = encode(towers.candidate, sampling.tokens_of(tf.maximum(distinct, 0))).embedding
    candidates = tf.gather(embedded, tf.reshape(places, tf.shape(rows)))
    if "mined_query_tokens" not in inputs:
        return MinedNegatives(candidates, rows >= 0)
    present = inputs["mined_queries_present"]
    queries = encode(towers.query, inputs["mined_query_tokens"]).embedding
    shape = tf.concat([tf.shape(present), tf.shape(queries)[1:]], axis=0)
    return MinedNegatives(candidates, rows >= 0, tf.reshape(queries, shape), present)
