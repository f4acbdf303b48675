"""Further views of texts as further positives of the retrieval softmax (multi-view contrast).

A view of a record has some tokens of its texts hidden; everything else is the same. The query of a
view must find its candidate among the candidates of the batch, and a query the view of its
candidate, so that no single word decides. The views of a step are drawn for it alone.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import tensorflow as tf

from tfrs_twotower import specs
from tfrs_twotower.config import MultiViewConfig
from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.layers.seeded import TrainingDropout
from tfrs_twotower.tasks.objective import EmbeddedBatch, Views
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers.tower import Tower, TowerOutput, Towers


class TokenViews(tf.Module):
    """Hides tokens of texts at random; its state is saved with a checkpoint."""

    def __init__(self, config: MultiViewConfig, seed: int) -> None:
        super().__init__(name="views")
        self._side = config.side
        self._rate = config.token_dropout
        self._dropout = TrainingDropout(seed, "views")

    def embed(
        self,
        towers: Towers,
        query_tokens: Tokens,
        positive_tokens: Tokens,
        encode: Callable[[Any, Tokens], TowerOutput],
        gather: Callable[[tf.Tensor], tf.Tensor],
    ) -> Views:
        """Embeds other views of a batch.

        Args:
            towers: the towers that are trained.
            query_tokens: `[batch, ...]` by name.
            positive_tokens: `[batch, ...]` by name, of the positives.
            encode: embeds tokens with a tower.
            gather: joins the rows of all replicas.
        """
        query = candidate = None
        if self._side != "candidate":
            query = encode(towers.query, self.of(towers.query, query_tokens)).embedding
        if self._side != "query":
            tokens = self.of(towers.candidate, positive_tokens)
            candidate = gather(encode(towers.candidate, tokens).embedding)
        return Views(query, candidate)

    def of(self, tower: Tower, tokens: Tokens) -> Tokens:
        """Returns the tokens `[batch, ...]` of another view of the same records."""
        texts = {
            feature.name
            for feature in tower.inputs.features
            if isinstance(feature, specs.TextFeature)
        }
        return {
            name: self._dropout.drop_entries(values, self._rate) if name in texts else values
            for name, values in tokens.items()
        }


class MultiViewTerm:
    """The mean over the sides of the retrieval softmax with a view in place of the side's records.

    Negatives, corrections and temperature are those of the retrieval term. Same-tower negatives and
    the direction from candidates to queries keep the records themselves.
    """

    name = "multi_view"

    def __init__(self, config: MultiViewConfig, retrieval: RetrievalTask, seed: int) -> None:
        """Makes the term and the source of its views."""
        self.weight = config.weight
        self.views = TokenViews(config, seed)
        self._retrieval = retrieval

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]` losses.

        Raises:
            ValueError: the batch has no views.
        """
        views = batch.views
        if views is None:
            raise ValueError(f"{self.name} needs views, and the batch has none")
        losses = []
        if views.query is not None:
            query = batch.query._replace(embedding=views.query)
            losses.append(self._retrieval.losses_of(replace(batch, query=query)))
        if views.all_candidate is not None:
            others = batch.columns[tf.shape(views.all_candidate)[0] :]
            columns = tf.concat([views.all_candidate, others], axis=0)
            losses.append(self._retrieval.losses_of(replace(batch, columns=columns)))
        return tf.add_n(losses) / len(losses)
