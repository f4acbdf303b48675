"""Builds the encoder of each feature, and the tables that the encoders share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from typing_extensions import assert_never

from tfrs_twotower.config import FieldsConfig
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features.calendar import NUM_VALUES
from tfrs_twotower.features.inputs import TowerInputs
from tfrs_twotower.features.lookup import Lookup
from tfrs_twotower.features.wordpiece import WordPiece
from tfrs_twotower.layers.bert import BertEncoder
from tfrs_twotower.layers.encoder import FieldEncoder
from tfrs_twotower.layers.history_field import HistoryField
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.layers.number_field import NumberField
from tfrs_twotower.layers.pretrained_field import PretrainedField
from tfrs_twotower.layers.table_fields import BucketField, CalendarField, RowField, SetField
from tfrs_twotower.layers.tables import MAIN_STDDEV, SIDE_STDDEV, TableSet, TableShape
from tfrs_twotower.layers.text_fields import BagField, TransformerField
from tfrs_twotower.specs import (
    CategoricalFeature,
    Feature,
    FeatureSpec,
    HistoryFeature,
    IdFeature,
    MultiCategoricalFeature,
    NumericFeature,
    TextFeature,
    TimestampFeature,
)

_VIEW_SPREAD = 0.3


@dataclass(frozen=True)
class FieldBuilder:
    """What the encoders of one side are built from."""

    weights: WeightMaker
    config: FieldsConfig
    inputs: TowerInputs
    tables: TableSet
    pretrained: Mapping[str, BertEncoder]
    """Pretrained encoders by checkpoint."""
    history_vocabulary: str | None
    """Vocabulary of the candidate's id feature."""
    bag_spread: float = 0.0
    """Deviation of the bags' first token weights."""

    def build_view(self, number: int, first: Sequence[FieldEncoder]) -> list[FieldEncoder]:
        """Encoders of one more reading of the side: bags of its own, the rest as in the first."""
        view = replace(self, weights=self.weights.under(f"view_{number}"), bag_spread=_VIEW_SPREAD)
        return [
            view.build(feature) if isinstance(encoder, BagField) else encoder
            for feature, encoder in zip(self.inputs.features, first, strict=True)
        ]

    def build(self, feature: Feature) -> FieldEncoder:
        """The encoder of one feature: the one place that chooses by its kind."""
        weights = self.weights.under(f"fields.{feature.name}")
        config, dim, name = self.config, self.config.embedding_dim, feature.name
        match feature:
            case IdFeature():
                table = self.tables[feature.vocabulary_name]
                return RowField(table, name, id_dropout=config.id_dropout)
            case CategoricalFeature():
                return RowField(self.tables[feature.vocabulary_name], name)
            case MultiCategoricalFeature():
                return SetField(self.tables[feature.vocabulary_name], name)
            case HistoryFeature():
                if self.history_vocabulary is None:
                    raise ValueError(f"the history '{name}' needs the candidate's id feature")
                table = self.tables[self.history_vocabulary]
                return HistoryField(
                    weights,
                    table,
                    dim,
                    name,
                    history_dropout=config.history_dropout,
                    half_life=config.history_half_life,
                )
            case NumericFeature():
                if feature.transform == "bucketise":
                    return BucketField(weights, self.inputs.num_rows(feature), dim, name)
                return NumberField(weights, dim, name)
            case TimestampFeature():
                parts: dict[str, int] = {part: NUM_VALUES[part] for part in feature.parts}
                return CalendarField(weights, parts, dim, name)
            case TextFeature():
                return self._build_text(feature, weights)
            case _:
                assert_never(feature)

    def _build_text(self, feature: TextFeature, weights: WeightMaker) -> FieldEncoder:
        dropout = self.config.token_dropout
        if feature.checkpoint is not None:
            return PretrainedField(
                weights,
                self.pretrained[feature.checkpoint],
                self.config.embedding_dim,
                feature.name,
                token_dropout=dropout,
            )
        table = self.tables[feature.vocabulary_name]
        if feature.encoder == "bag":
            return BagField(
                weights,
                table,
                feature.name,
                token_dropout=dropout,
                positions=self.config.bag_positions,
                spread=self.bag_spread,
            )
        check_heads(self.config)
        return TransformerField(
            weights,
            table,
            self.config.transformer,
            feature.max_tokens,
            feature.name,
            token_dropout=dropout,
        )


def check_heads(config: FieldsConfig) -> None:
    """Refuses a transformer whose heads do not divide the embedding dimension.

    Raises:
        ConfigError: they do not.
    """
    heads = config.transformer.num_heads
    if config.embedding_dim % heads:
        raise ConfigError(
            f"model.transformer.num_heads: found {heads}, which does not divide "
            f"model.embedding_dim {config.embedding_dim}; choose a divisor"
        )


def table_shapes(
    spec: FeatureSpec, lookups: Mapping[str, Lookup], word_pieces: Mapping[str, WordPiece]
) -> dict[str, TableShape]:
    """Shape of each shared table, by vocabulary name; pretrained encoders bring their own.

    Candidate ids and text pieces start larger than other rows: they are what most of the ranking
    rests on, and the random start of a side feature should not drown them.
    """
    shapes = {name: TableShape(lookup.num_rows, SIDE_STDDEV) for name, lookup in lookups.items()}
    for feature in (*spec.query.features, *spec.candidate.features):
        if isinstance(feature, TextFeature) and feature.checkpoint is None:
            name = feature.vocabulary_name
            shapes[name] = TableShape(word_pieces[name].num_rows, MAIN_STDDEV)
    for feature in spec.candidate.features:
        if isinstance(feature, IdFeature):
            name = feature.vocabulary_name
            shapes[name] = TableShape(lookups[name].num_rows, MAIN_STDDEV)
    return shapes
