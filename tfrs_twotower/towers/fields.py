"""Builds the encoder of each feature, the tables they share, and the first token weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_never

from tfrs_twotower.config import FieldsConfig
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features.lookup import Lookup
from tfrs_twotower.features.numbers import NUM_VALUES
from tfrs_twotower.features.tower_inputs import TowerInputs
from tfrs_twotower.features.wordpiece import WordPiece
from tfrs_twotower.layers.bert import BertEncoder
from tfrs_twotower.layers.field_encoders import (
    BucketField,
    CalendarField,
    FieldEncoder,
    HistoryField,
    NumberField,
    RowField,
    SetField,
)
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.layers.tables import MAIN_STDDEV, SIDE_STDDEV, TableSet, TableShape
from tfrs_twotower.layers.text_encoders import BagField, PretrainedField, TransformerField
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
from tfrs_twotower.towers.tower import Tower, Towers

_VIEW_SPREAD = 0.3
_LEAST_WEIGHT = 1e-3


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
