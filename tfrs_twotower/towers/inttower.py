"""The towers of IntTower (Li et al., CIKM 2022): gated fields, a body, an embedding, heads."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfrs_twotower.config import HeadsConfig
from tfrs_twotower.features.tower_inputs import Tokens, TowerInputs
from tfrs_twotower.layers import bert, bodies, fe_block, field_encoders, seeded
from tfrs_twotower.layers.history_transformer import field_tokens
from tfrs_twotower.towers.augmentation import Augmentation, Augmented
from tfrs_twotower.towers.tower import PairScorer, Tower, TowerOutput, Towers


class IntTower(Tower):
    """Fields, a gate and a body; the embedding and the FE heads are made from the body's layers.

    With an augmentation, `a W` is one more field, which the gate weighs like the others; see
    `DatTower`.

    A query tower has heads for every participating layer, a candidate tower for its last layer. A
    side with a single field has no gate, because there is nothing to weigh.
    """

    def __init__(
        self,
        inputs: TowerInputs,
        fields: Sequence[field_encoders.FieldEncoder],
        config: HeadsConfig,
        weights: seeded.WeightMaker,
        name: str,
        *,
        more_views: Sequence[Sequence[field_encoders.FieldEncoder]] = (),
        cosine_heads: bool = False,
        body: bodies.Body | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        """Builds a tower.

        Args:
            inputs: turns raw values into tokens.
            fields: one encoder for each feature of `inputs`, in the same order.
            config: the towers' section of the run config.
            weights: makes the tower's own weights.
            name: `query` or `candidate`.
            more_views: further views, each with one encoder for each feature.
            cosine_heads: whether heads have unit length.
            body: the body, if the other tower has the same; by default its own.
            augmentation: the source of one more field, as in a `DatTower`.
        """
        super().__init__(name=name)
        self.inputs = inputs
        self.embedding_dim = config.embedding_dim
        self.fields = list(fields)
        self._views = [self.fields, *(list(view) for view in more_views)]
        self._dropout = seeded.TrainingDropout(weights.seed, name)
        self.augmentation = augmentation
        num_fields = self.num_fields
        if augmentation is not None:
            num_fields += 1
            self.has_augmented = augmentation.learned
            self._kernel = weights.identity("augmentation.kernel", config.embedding_dim)
            self._augmentation_dropout = seeded.TrainingDropout(
                weights.seed, f"{name}.augmentation"
            )
        self._gate = _gate(config, weights.under("gate"), num_fields)
        self._body: bodies.Body = body or (
            bodies.ResidualBody(weights, config)
            if config.body == "residual"
            else bodies.DenseBody(weights, config, num_fields)
        )
        dims = self._body.layer_dims
        self.last_dim = dims[-1]
        is_query = name == "query"
        self._num_participating = config.num_query_layers if is_query else 1
        self._head_maps = fe_block.HeadMaps(
            weights.under("heads"),
            dims[-self._num_participating :],
            num_heads=config.num_query_heads if is_query else config.num_candidate_heads,
            head_dim=config.head_dim,
            num_summands=config.num_query_layers * config.num_query_heads,
            cosine=cosine_heads,
        )
        self.make_map(weights, config)

    def encoders_of(self, position: int) -> list[field_encoders.FieldEncoder]:
        """Returns the distinct encoders of the feature over all views."""
        return list({id(view[position]): view[position] for view in self._views}.values())

    def encode_fields(self, tokens: Tokens, training: bool = False) -> tf.Tensor:
        """Returns `[batch, num_fields, embedding_dim]` of the first view, before the gate."""
        return self._encode_view(self.fields, tokens, training)

    def encode(self, tokens: Tokens, training: bool = False) -> TowerOutput:
        """Returns the embedding of the first view, and the heads of all views.

        Heads are `[batch, num_heads, head_dim]`. As in the paper they are not normalised, except
        with `cosine_heads`.
        """
        augmented = Augmented(None, None)
        more = []
        if self.augmentation is not None:
            augmented = self.augmentation(tokens, self._augmentation_dropout if training else None)
            more = [tf.matmul(augmented.vectors, self._kernel)[:, tf.newaxis]]
        views = [self._layers_of(view, tokens, training, more) for view in self._views]
        return TowerOutput(
            self.normalise(self._body.embed(views[0][-1])),
            heads=tf.concat([self.heads_of(layers) for layers in views], axis=1),
            augmented=augmented.trained,
        )

    def heads_of(self, layers: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns `[batch, num_heads, head_dim]` of one view, whose body gave these layers."""
        return self._head_maps(layers[-self._num_participating :])

    def _layers_of(
        self,
        view: Sequence[field_encoders.FieldEncoder],
        tokens: Tokens,
        training: bool,
        more: Sequence[tf.Tensor],
    ) -> list[tf.Tensor]:
        fields = tf.concat([self._encode_view(view, tokens, training), *more], axis=1)
        if self._gate is not None:
            fields = self._gate(fields)
        return self._body(fields, self._dropout if training else None)

    def _encode_view(
        self, view: Sequence[field_encoders.FieldEncoder], tokens: Tokens, training: bool
    ) -> tf.Tensor:
        dropout = self._dropout if training else None
        vectors = [
            field(field_tokens(tokens, feature.name), dropout)
            for feature, field in zip(self.inputs.features, view, strict=True)
        ]
        return tf.stack(vectors, axis=1)


class IntTowers(Towers):
    """Two towers with heads, and the scorer of these."""

    def __init__(
        self,
        query: Tower,
        candidate: Tower,
        pretrained: Mapping[str, bert.BertEncoder],
        scorer: PairScorer,
    ) -> None:
        """Joins two towers; `pretrained` holds their BERT encoders by checkpoint."""
        super().__init__(query, candidate, pretrained)
        self.scorer = scorer


def _gate(
    config: HeadsConfig, weights: seeded.WeightMaker, num_fields: int
) -> bodies.LightSE | bodies.SqueezeExcitation | None:
    if num_fields == 1 or config.field_gate == "none":
        return None
    if config.field_gate == "light_se":
        return bodies.LightSE(weights, num_fields)
    return bodies.SqueezeExcitation(weights, num_fields)
