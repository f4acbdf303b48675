"""Builds the encoders of texts: what each side has of its own, and what both sides share.

`model.text_sharing` names the architectures of dual encoders (Dong et al., EMNLP 2022): siamese
(SDE), asymmetric (ADE), and asymmetric with a shared projection (ADE-SPL).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf

from tfrs_twotower import specs
from tfrs_twotower.config import ColbertConfig, FieldsConfig
from tfrs_twotower.documents import user_path
from tfrs_twotower.errors import ConfigError, FeatureSpecError
from tfrs_twotower.layers import bert, bodies, fe_block, seeded, text_encoders
from tfrs_twotower.layers.checkpoint import read_bert
from tfrs_twotower.layers.embedding_tables import TableSet, TableShape

PRETRAINED = "pretrained."
"""Names of the weights of pretrained encoders begin with it."""
OF_BOTH = "shared"
"""Names of the weights that `model.text_sharing` gives to both towers begin with it."""


@dataclass(frozen=True)
class SharedParts:
    """What the texts of both towers have together; each part is made when it is first asked for."""

    weights: seeded.WeightMaker
    longest: Mapping[tuple[str, str], int]
    """The most tokens that an encoder is given, by kind and vocabulary or checkpoint."""
    encoders: dict[tuple[str, str], text_encoders.TextField] = field(default_factory=dict)
    projections: dict[int, tf.Variable | None] = field(default_factory=dict)
    """By the dimension of the encoder."""


@dataclass(frozen=True)
class TextBuilder:
    """Builds the text encoders of one side."""

    config: FieldsConfig
    side: str
    """`query` or `candidate`."""
    tables: Mapping[str, tf.Variable]
    """Token tables of the side, by vocabulary."""
    pretrained: Mapping[str, bert.BertEncoder]
    """Pretrained encoders of the side, by checkpoint."""
    shared: SharedParts | None
    """None if every encoder and projection belongs to one feature."""

    def build(
        self, feature: specs.TextFeature, weights: seeded.WeightMaker, *, bag_spread: float = 0.0
    ) -> text_encoders.TextField:
        """Builds the encoder of a text, or returns that of the texts that share it.

        Args:
            feature: the text.
            weights: makes what the text has of its own.
            bag_spread: standard deviation of the initial token weights of a bag; a bag with one is
                a further view of a candidate, and shares nothing but the table.
        """
        if self.shared is None or self.config.text_sharing != "siamese" or bag_spread:
            return self._new(feature, weights, feature.name, feature.max_tokens, bag_spread)
        key = _key(feature)
        if key not in self.shared.encoders:
            maker = self.shared.weights.under(f"texts.{feature.vocabulary_name}.{feature.encoder}")
            longest = self.shared.longest[key]
            self.shared.encoders[key] = self._new(feature, maker, key[1], longest, 0.0)
        return self.shared.encoders[key]

    def _new(
        self,
        feature: specs.TextFeature,
        weights: seeded.WeightMaker,
        name: str,
        max_tokens: int,
        bag_spread: float,
    ) -> text_encoders.TextField:
        dropout = self.config.token_dropout
        if feature.checkpoint is not None:
            encoder = self.pretrained[feature.checkpoint]
            projection = self._projection(encoder, weights)
            return text_encoders.PretrainedField(encoder, projection, name, token_dropout=dropout)
        table = self.tables[feature.vocabulary_name]
        if feature.encoder == "bag":
            return text_encoders.BagField(
                weights,
                table,
                name,
                token_dropout=dropout,
                positions=self.config.bag_positions,
                spread=bag_spread,
            )
        transformer = self.config.transformer_of(self.side)
        return text_encoders.TransformerField(
            weights, table, transformer, max_tokens, name, token_dropout=dropout
        )

    def _projection(
        self, encoder: bert.BertEncoder, weights: seeded.WeightMaker
    ) -> tf.Variable | None:
        dim = self.config.embedding_dim
        if self.shared is None:
            return text_encoders.projection_of(weights, encoder, dim)
        hidden, known = encoder.shape.hidden_dim, self.shared.projections
        if hidden not in known:
            maker = self.shared.weights.under(f"from_{hidden}")
            known[hidden] = text_encoders.projection_of(maker, encoder, dim)
        return known[hidden]


def text_builders(
    spec: specs.FeatureDeclarations,
    config: FieldsConfig,
    weights: seeded.WeightMaker,
    tables: TableSet,
    shapes: Mapping[str, TableShape],
    root: Path,
    pretrained_shapes: Mapping[str, bert.BertShape] | None,
) -> dict[str, TextBuilder]:
    """Makes the builders of `query` and `candidate`.

    Args:
        spec: the features of both sides.
        config: the towers' section of the run config.
        weights: makes the weights of both towers.
        tables: the tables by vocabulary; queries get others for texts that are to be apart.
        shapes: the shapes of these tables.
        root: where relative `checkpoint` directories start.
        pretrained_shapes: see `build.build_towers`.

    Raises:
        FeatureSpecError: a checkpoint cannot be used.
    """
    of_query, of_candidate = _texts(spec.query), _texts(spec.candidate)
    names = {text.vocabulary_name for text in of_candidate if text.checkpoint is None}
    own = {text.vocabulary_name for text in of_query if text.checkpoint is None}
    candidate_tables = {name: tables[name] for name in names}
    query_tables = {name: tables[name] for name in own}
    apart = config.text_sharing in ("asymmetric", "projection")
    if apart:
        both = {name: shapes[name] for name in names & own}
        of_its_own = TableSet(weights.under("query.tables"), both, config.embedding_dim)
        query_tables |= {name: of_its_own[name] for name in both}
    read = (weights, root, pretrained_shapes)
    if apart:
        query_encoders = pretrained_encoders(of_query, *read)
        candidate_encoders = pretrained_encoders(of_candidate, *read, first=len(query_encoders))
    else:
        query_encoders = candidate_encoders = pretrained_encoders([*of_query, *of_candidate], *read)
    shared = None
    if config.text_sharing in ("siamese", "projection"):
        longest: dict[tuple[str, str], int] = {}
        for text in (*of_query, *of_candidate):
            longest[_key(text)] = max(longest.get(_key(text), 0), text.max_tokens)
        shared = SharedParts(weights.under(OF_BOTH), longest)
    return {
        "query": TextBuilder(config, "query", query_tables, query_encoders, shared),
        "candidate": TextBuilder(config, "candidate", candidate_tables, candidate_encoders, shared),
    }


def shared_body(config: FieldsConfig, weights: seeded.WeightMaker) -> bodies.ResidualBody | None:
    """The layers after the fields, if both towers have the same.

    Raises:
        ConfigError: the towers concatenate their fields, so that their layers differ in size.
    """
    if config.text_sharing not in ("siamese", "projection"):
        return None
    if getattr(config, "body", "residual") == "dense":
        raise ConfigError(
            f"model.text_sharing is {config.text_sharing}, but model.body is dense, whose layers "
            "depend on the number of fields. Set model.body: residual."
        )
    return bodies.ResidualBody(weights.under(OF_BOTH), config)


def shared_token_map(config: FieldsConfig, weights: seeded.WeightMaker) -> fe_block.HeadMaps | None:
    """The projection of tokens, if these are towers of late interaction that have the same."""
    if config.text_sharing not in ("siamese", "projection"):
        return None
    return token_map(config, weights.under(OF_BOTH)) if isinstance(config, ColbertConfig) else None


def token_map(config: ColbertConfig, weights: seeded.WeightMaker) -> fe_block.HeadMaps:
    """The projection of the tokens of late interaction to unit vectors of `head_dim`."""
    return fe_block.HeadMaps(
        weights.under("tokens"),
        [config.embedding_dim],
        num_heads=1,
        head_dim=config.head_dim,
        num_summands=1,
        cosine=True,
    )


def pretrained_encoders(
    texts: Sequence[specs.TextFeature],
    weights: seeded.WeightMaker,
    root: Path,
    shapes: Mapping[str, bert.BertShape] | None,
    *,
    first: int = 0,
) -> dict[str, bert.BertEncoder]:
    """Builds the pretrained encoders of some texts, by checkpoint.

    Args:
        texts: the texts; those of other kinds of encoders are passed over.
        weights: makes the weights.
        root: where relative `checkpoint` directories start.
        shapes: builds encoders of these shapes; None reads the checkpoints.
        first: number of the first encoder, which its weights are named for.

    Raises:
        FeatureSpecError: a checkpoint cannot be used.
    """
    encoders: dict[str, bert.BertEncoder] = {}
    for text in texts:
        checkpoint = text.checkpoint
        if checkpoint is None:
            continue
        if checkpoint not in encoders:
            maker = weights.under(f"{PRETRAINED}{first + len(encoders)}")
            if shapes is not None:
                encoders[checkpoint] = bert.BertEncoder(maker, shapes[checkpoint])
            else:
                encoders[checkpoint] = _from_checkpoint(user_path(checkpoint, root), maker)
        check_length(text, encoders[checkpoint].shape)
    return encoders


def _from_checkpoint(directory: Path, maker: seeded.WeightMaker) -> bert.BertEncoder:
    shape, tensors = read_bert(directory)
    encoder = bert.BertEncoder(maker, shape)
    try:
        encoder.assign(tensors)
    except (KeyError, ValueError) as cause:
        raise FeatureSpecError(
            f"{directory}: the tensors are not those of a BERT encoder: {cause}. "
            "Give checkpoint: the directory of another one."
        ) from cause
    return encoder


def check_length(feature: specs.TextFeature, shape: bert.BertShape) -> None:
    """Checks that a checkpoint has enough positions for a text.

    Raises:
        FeatureSpecError: it has not.
    """
    if not 3 <= feature.max_tokens <= shape.num_positions:
        raise FeatureSpecError(
            f"the text '{feature.name}': max_tokens is {feature.max_tokens}; its checkpoint takes "
            f"3 to {shape.num_positions}, two of which mark the ends"
        )


def _texts(side: specs.Side) -> list[specs.TextFeature]:
    return [feature for feature in side.features if isinstance(feature, specs.TextFeature)]


def _key(text: specs.TextFeature) -> tuple[str, str]:
    """What two texts must have in common to share an encoder."""
    return text.encoder, text.checkpoint or text.vocabulary_name
