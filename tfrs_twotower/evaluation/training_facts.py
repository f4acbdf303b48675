"""What training could see: texts of its queries, ids in its vocabularies."""

from pathlib import Path

import tensorflow as tf

from tfrs_twotower.artifacts.layout import TRAIN_GLOB, VOCABULARIES
from tfrs_twotower.data.raw_inputs import parse_spec, read_records
from tfrs_twotower.evaluation.inputs import TrainingFacts
from tfrs_twotower.specs import FeatureSpec, IdFeature, Side, TextFeature

_BATCH_SIZE = 4096


def load_training_facts(preprocessed: Path, spec: FeatureSpec) -> TrainingFacts:
    """Reads training texts (where the query side has text and no history) and id vocabularies."""
    query_column = spec.queries.id if spec.queries is not None else spec.interactions.query_id
    return TrainingFacts(
        query_texts=_query_texts(preprocessed, spec) if not spec.histories else None,
        candidate_vocabulary=_vocabulary(preprocessed, spec.candidate, spec.candidates.id),
        query_vocabulary=_vocabulary(preprocessed, spec.query, query_column),
    )


def _query_texts(preprocessed: Path, spec: FeatureSpec) -> list[str] | None:
    features = [feature for feature in spec.query.features if isinstance(feature, TextFeature)]
    if not features:
        return None
    parse = parse_spec(features)
    texts: list[str] = []
    for serialized in read_records(preprocessed, TRAIN_GLOB).batch(_BATCH_SIZE):
        parsed = tf.io.parse_example(serialized, parse)
        columns = [parsed[feature.name].numpy() for feature in features]
        texts.extend(
            " ".join(value.decode() for value in values if value)
            for values in zip(*columns, strict=True)
        )
    return texts


def _vocabulary(preprocessed: Path, side: Side, id_column: str) -> list[str] | None:
    for feature in side.features:
        if isinstance(feature, IdFeature) and feature.source == id_column:
            path = preprocessed / VOCABULARIES / f"{feature.vocabulary_name}.txt"
            if path.exists():
                return path.read_text(encoding="utf-8").splitlines()
    return None
