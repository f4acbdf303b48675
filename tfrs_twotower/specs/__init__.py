"""Feature specs: what the data is. No TensorFlow."""

from tfrs_twotower.specs.features import (
    CategoricalFeature,
    Feature,
    HistoryFeature,
    IdFeature,
    MultiCategoricalFeature,
    NumericFeature,
    TextFeature,
    TimestampFeature,
)
from tfrs_twotower.specs.spec import (
    FeatureSpec,
    GivenSplit,
    PerQueryLastSplit,
    Relevance,
    Side,
    Split,
    TemporalSplit,
    load_spec,
)
from tfrs_twotower.specs.tables import EntityTable, InteractionTable, Table, TimestampColumn

__all__ = [
    "CategoricalFeature",
    "EntityTable",
    "Feature",
    "FeatureSpec",
    "GivenSplit",
    "HistoryFeature",
    "IdFeature",
    "InteractionTable",
    "MultiCategoricalFeature",
    "NumericFeature",
    "PerQueryLastSplit",
    "Relevance",
    "Side",
    "Split",
    "Table",
    "TemporalSplit",
    "TextFeature",
    "TimestampColumn",
    "TimestampFeature",
    "load_spec",
]
