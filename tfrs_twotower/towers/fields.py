"""Builds the encoder of each feature; shapes of shared tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import tensorflow as tf
from typing_extensions import assert_never

from tfrs_twotower import specs
from tfrs_twotower.config import FieldsConfig
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import numbers, tower_inputs, wordpiece
from tfrs_twotower.features.lookup import Lookup
from tfrs_twotower.layers import field_encoders, seeded, text_encoders
from tfrs_twotower.layers.candidate_memory import CandidateContent, CandidateMemory
from tfrs_twotower.layers.embedding_tables import MAIN_STDDEV, SIDE_STDDEV, TableSet, TableShape
from tfrs_twotower.layers.field_encoders import FieldEncoder
from tfrs_twotower.layers.history_transformer import HistoryTransformerField
from tfrs_twotower.layers.query_decoder import QuerySlotsField
from tfrs_twotower.towers.texts import TextBuilder
from tfrs_twotower.towers.tower import Tower

_VIEW_SPREAD = 0.3


@dataclass(frozen=True)
class FieldBuilder:
    """Builds the field encoders of one side, `query` or `candidate`."""

    side: str
    weights: seeded.WeightMaker
    config: FieldsConfig
    inputs: tower_inputs.TowerInputs
    tables: TableSet
    texts: TextBuilder
    """Builds the encoders of the side's texts."""
    history_vocabulary: str | None
    """Vocabulary of the candidate's id feature, which histories are looked up in."""
    bag_spread: float = 0.0
    """Standard deviation of the initial token weights of bags."""
    content: CandidateContent | None = None
    """What histories know of candidates beside their ids."""

    def build_view(self, number: int, first: Sequence[FieldEncoder]) -> list[FieldEncoder]:
        """Builds one more view of the side: bags of its own, and the other encoders of `first`."""
        view = replace(self, weights=self.weights.under(f"view_{number}"), bag_spread=_VIEW_SPREAD)
        return [
            view.build(feature) if isinstance(encoder, text_encoders.BagField) else encoder
            for feature, encoder in zip(self.inputs.features, first, strict=True)
        ]

    def build(self, feature: specs.Feature) -> FieldEncoder:
        """Builds the encoder of one feature; only this method chooses by the kind of a feature."""
        weights = self.weights.under(f"fields.{feature.name}")
        config, dim, name = self.config, self.config.embedding_dim, feature.name
        match feature:
            case specs.IdFeature():
                table = self.tables[feature.vocabulary_name]
                return field_encoders.RowField(table, name, id_dropout=config.id_dropout)
            case specs.CategoricalFeature():
                return field_encoders.RowField(self.tables[feature.vocabulary_name], name)
            case specs.MultiCategoricalFeature():
                return field_encoders.SetField(self.tables[feature.vocabulary_name], name)
            case specs.HistoryFeature():
                return self._build_history(feature, weights)
            case specs.NumericFeature():
                if feature.transform == "bucketise":
                    return field_encoders.BucketField(
                        weights, self.inputs.num_rows(feature), dim, name
                    )
                return field_encoders.NumberField(weights, dim, name)
            case specs.TimestampFeature():
                parts: dict[str, int] = {part: numbers.NUM_VALUES[part] for part in feature.parts}
                return field_encoders.CalendarField(weights, parts, dim, name)
            case specs.TextFeature():
                return self._build_text(feature, weights)
            case _:
                assert_never(feature)

    def _build_text(self, feature: specs.TextFeature, weights: seeded.WeightMaker) -> FieldEncoder:
        config = self.config
        slots = config.query_slots if feature.contextual and self.side == "candidate" else None
        if slots is not None or feature.encoder == "transformer":
            check_heads(config)
        text = self.texts.build(feature, weights, bag_spread=self.bag_spread)
        if slots is None:
            return text
        dim = config.embedding_dim
        return QuerySlotsField(weights, text, dim, config.transformer, slots, feature.name)

    def _build_history(
        self, feature: specs.HistoryFeature, weights: seeded.WeightMaker
    ) -> FieldEncoder:
        config, name = self.config, feature.name
        if self.history_vocabulary is None:
            raise ValueError(f"the history '{name}' needs the candidate's id feature")
        table = self.tables[self.history_vocabulary]
        if config.history_encoder == "transformer":
            check_heads(config, "history_transformer")
            return HistoryTransformerField(
                weights,
                table,
                config.history_transformer,
                min(feature.max_length, config.history_length or feature.max_length),
                name,
                history_dropout=config.history_dropout,
                dropout=config.dropout,
                half_life=config.history_half_life,
                content=self.content,
            )
        return field_encoders.HistoryField(
            weights,
            table,
            config.embedding_dim,
            name,
            longest=config.history_length,
            history_dropout=config.history_dropout,
            half_life=config.history_half_life,
            content=self.content,
        )


def build_content(
    weights: seeded.WeightMaker,
    candidate: Tower,
    id_feature: specs.IdFeature,
    num_rows: int,
    dim: int,
    *,
    stop_gradient: bool,
) -> CandidateContent | None:
    """Builds what histories know of candidates beside their ids.

    Args:
        weights: makes the stored table.
        candidate: the candidate tower, whose field encoders are used.
        id_feature: the feature that histories consist of, which has a vector of its own.
        num_rows: number of rows of its lookup.
        dim: dimension of the field vectors.
        stop_gradient: whether histories leave the candidate's fields as they are.

    Returns:
        None if the candidates have no other feature, or pretrained texts alone: a step would run
        their encoder over all events of all histories.
    """
    encoders = {
        feature.name: encoder
        for feature, encoder in zip(candidate.inputs.features, candidate.fields, strict=True)
        if feature != id_feature and getattr(feature, "checkpoint", None) is None
    }
    if not encoders:
        return None

    def encode(
        tokens: Mapping[str, tf.Tensor], dropout: seeded.TrainingDropout | None
    ) -> tf.Tensor:
        return tf.add_n([encoder(tokens[name], dropout) for name, encoder in encoders.items()])

    memory = CandidateMemory(weights, id_feature.name, num_rows, dim)
    return CandidateContent(memory, encode, stop_gradient=stop_gradient)


def check_heads(
    config: FieldsConfig, section: Literal["transformer", "history_transformer"] = "transformer"
) -> None:
    """Checks that the heads of a transformer divide the embedding dimension.

    Raises:
        ConfigError: they do not divide it.
    """
    heads = getattr(config, section).num_heads
    if config.embedding_dim % heads:
        raise ConfigError(
            f"model.{section}.num_heads: found {heads}, which does not divide "
            f"model.embedding_dim {config.embedding_dim}; choose a divisor"
        )


def table_shapes(
    spec: specs.FeatureDeclarations,
    lookups: Mapping[str, Lookup],
    word_pieces: Mapping[str, wordpiece.WordPiece],
) -> dict[str, TableShape]:
    """Returns the shape of each shared table, by vocabulary; pretrained encoders have their own.

    Rows of candidate ids and text pieces start larger than other rows, because the ranking rests
    mostly on them and the random start of a side feature should not outweigh them.
    """
    shapes = {name: TableShape(lookup.num_rows, SIDE_STDDEV) for name, lookup in lookups.items()}
    for feature in (*spec.query.features, *spec.candidate.features):
        if isinstance(feature, specs.TextFeature) and feature.checkpoint is None:
            name = feature.vocabulary_name
            shapes[name] = TableShape(word_pieces[name].num_rows, MAIN_STDDEV)
    for feature in spec.candidate.features:
        if isinstance(feature, specs.IdFeature):
            name = feature.vocabulary_name
            shapes[name] = TableShape(lookups[name].num_rows, MAIN_STDDEV)
    return shapes
