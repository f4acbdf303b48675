"""Reads the data of an evaluation from artifacts on disk."""

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.artifacts import Layout, read_manifest
from tfrs_twotower.artifacts import layout as files
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.data import (
    loading,
    query_set,
    stored_embeddings,
    stored_examples,
    stored_tables,
)
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.stored_postings import load_lexical
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.evaluation import (
    budget,
    cross_encoder_scores,
    evaluated_data,
    loading_interactions,
    pre_ranker_scores,
    protocol_document,
)
from tfrs_twotower.index.quality import QUALITY_NAME, read_quality
from tfrs_twotower.ranking import FloatArray
from tfrs_twotower.specs import FeatureSpec, IdFeature, Side
from tfrs_twotower.towers.cross_encoder import load_cross_encoders
from tfrs_twotower.towers.pre_ranker import load_pre_ranker


def load_inputs(
    layout: Layout,
    spec: FeatureSpec,
    timings: dict[str, float] | None = None,
    *,
    with_pre_ranker: bool = False,
    with_cross_encoder: bool = False,
    config: EvaluateConfig | None = None,
) -> evaluated_data.EvaluationInputs:
    """Reads the preprocessed data, the embeddings, and the index's quality if there is one.

    Args:
        layout: where the artifacts are.
        spec: the feature spec.
        timings: seconds of earlier stages.
        with_pre_ranker: reads the pre-ranker too; without it the cascade is retrieval only.
        with_cross_encoder: reads the cross-encoder beside the mined lists, too; needs a pre-ranker,
            whose pool it ranks.
        config: says how many test queries are read at most; a sample is drawn from more, the same
            for every seed of training, so that runs are compared on the same queries. None reads
            all.

    Raises:
        ArtifactError: a file is missing, or the embeddings or the pre-ranker do not fit the data.
    """
    source = layout.preprocessed
    corpus = loading.load_corpus(source, spec)
    ids = corpus.ids.tolist()
    counts, recent_counts = loading_interactions.read_frequencies(source, ids)
    has_validation = read_manifest(source, "preprocessed").counts.get("validation_queries", 0) > 0
    most = None if config is None else budget.most_queries(config, len(corpus))
    test_queries, num_test_queries = loading.load_sample(
        source, "test", spec, corpus, most, budget.SAMPLE_SEED
    )
    read_manifest(layout.embeddings, "embeddings")  # names the stage where there are none
    vectors = stored_embeddings.vectors_of(
        stored_embeddings.read_candidate_embeddings(layout.embeddings),
        ids,
        f"{layout.embeddings}, candidates",
    )
    has_index = (layout.index / QUALITY_NAME).exists()
    most_unlearned = budget.most_tuning_queries(len(corpus))
    unlearned = load_unlearned(layout, spec, corpus, most_unlearned) if has_validation else None
    second_stage = reference = None
    if with_pre_ranker:
        second_stage = _second_stage(layout, len(ids), test_queries.inputs)
        if with_cross_encoder:
            texts, models = load_cross_encoders(layout.negatives / files.CROSS_ENCODER, spec)
            reference = evaluated_data.SecondStage(
                budget.most_read(len(test_queries), second_stage.num_candidates),
                cross_encoder_scores.CrossEncoderScores(
                    texts, models, test_queries.inputs, corpus.raw
                ),
            )
    return evaluated_data.EvaluationInputs(
        dataset=spec.name,
        corpus=replace(
            corpus.with_vectors(vectors),
            texts=loading.joined_texts(corpus.raw, spec.candidate.features),
        ),
        counts=counts,
        recent_counts=recent_counts,
        log=loading_interactions.read_interactions(source, ids),
        test=_with_texts(
            stored_embeddings.with_embeddings(test_queries, layout.embeddings, "test"), spec
        ),
        validation=unlearned and unlearned.queries,
        eligible=(
            stored_tables.known_candidates(source, corpus)
            if spec.split.known_candidates_only
            else np.ones(len(ids), bool)
        ),
        split=_split_facts(source, spec),
        training=load_training_facts(source, spec),
        index_quality=read_quality(layout.index) if has_index else None,
        training_log=_training_log(layout.model),
        timings=dict(timings or {}),
        second_stage=second_stage,
        reference=reference,
        all_test_queries=num_test_queries if len(test_queries) < num_test_queries else None,
        first_fit_vectors=unlearned and unlearned.candidate_vectors,
        lexical=load_lexical(layout.index, len(ids), "Run build-index again.")
        if has_index
        else None,
    )


def load_training_facts(preprocessed: Path, spec: FeatureSpec) -> evaluated_data.TrainingFacts:
    """Reads training texts (if the query side has text and no history) and id vocabularies."""
    query_column = spec.queries.id if spec.queries is not None else spec.interactions.query_id
    return evaluated_data.TrainingFacts(
        query_texts=_training_texts(preprocessed, spec) if not spec.histories else None,
        candidate_vocabulary=_vocabulary(preprocessed, spec.candidate, spec.candidates.id),
        query_vocabulary=_vocabulary(preprocessed, spec.query, query_column),
        fresh_candidates=_vocabulary(
            preprocessed, spec.candidate, spec.candidates.id, files.FRESH_IDS
        )
        or (),
        fresh_queries=_vocabulary(preprocessed, spec.query, query_column, files.FRESH_IDS) or (),
    )


def _split_facts(preprocessed: Path, spec: FeatureSpec) -> evaluated_data.SplitFacts:
    path = preprocessed / files.STATISTICS
    try:
        statistics = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        window = statistics.get("window")
        return evaluated_data.SplitFacts(
            kind=spec.split.kind,
            new_pairs_only=spec.split.new_pairs_only,
            known_queries_only=spec.split.known_queries_only,
            known_candidates_only=spec.split.known_candidates_only,
            sessions=spec.interactions.session is not None,
            window=None if window is None else protocol_document.Window(**window),
            has_time=spec.interactions.has_times,
            has_order=spec.interactions.timestamp is not None,
            empty_queries=statistics.get("empty_queries"),
        )
    except (ValueError, TypeError, AttributeError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. Run preprocess again.") from cause


def _second_stage(
    layout: Layout, num_candidates: int, raw: dict[str, NDArray[np.generic]]
) -> evaluated_data.SecondStage:
    pre_ranker = load_pre_ranker(layout.pre_ranker)
    if len(pre_ranker.candidate_signals) != num_candidates:
        raise CorruptArtifact(
            f"{layout.pre_ranker}: is for {len(pre_ranker.candidate_signals)} candidates, "
            f"the corpus has {num_candidates}. Train the pre-ranker again."
        )
    combination = pre_ranker.combination
    return evaluated_data.SecondStage(
        combination.num_candidates,
        pre_ranker_scores.PreRankerScores(pre_ranker, raw, layout.pre_ranker),
        dict(zip(combination.features, combination.weights, strict=True)),
        _training_log(layout.pre_ranker),
    )


class Unlearned(NamedTuple):
    """Validation queries, for what is chosen by the scores of towers that have not learned them."""

    queries: query_set.QuerySet
    """With texts, if the spec has any; without embeddings if no such towers have embedded them."""
    candidate_vectors: FloatArray | None
    """`[num_candidates, embedding_dim]` by the towers of the first fit, which embedded the queries;
    None where those of the corpus are by the same towers."""


def load_unlearned(
    layout: Layout, spec: FeatureSpec, corpus: Corpus, most: int | None = None
) -> Unlearned:
    """Reads validation queries; after a refit, with the embeddings of the first fit.

    Args:
        layout: where the artifacts are.
        spec: the feature spec.
        corpus: the candidates.
        most: largest number of queries; a fixed sample is drawn from more. None reads all.

    Raises:
        ArtifactError: a file is missing, or the embeddings do not fit the data.
    """
    directory = layout.embeddings
    refitted = bool(read_manifest(directory, "embeddings").details.get("refitted", False))
    has_first_fit = refitted and any(directory.glob(f"{files.FIRST_FIT_CANDIDATES}-*"))
    queries = _with_texts(
        loading.load_sample(
            layout.preprocessed, "validation", spec, corpus, most, budget.SAMPLE_SEED
        )[0],
        spec,
    )
    if not has_first_fit:
        if not refitted:
            queries = stored_embeddings.with_embeddings(queries, directory, "validation")
        return Unlearned(queries, None)
    vectors = stored_embeddings.vectors_of(
        stored_embeddings.read_candidate_embeddings(directory, first_fit=True),
        corpus.ids.tolist(),
        f"{directory}, candidates of the first fit",
    )
    queries = stored_embeddings.with_embeddings(queries, directory, "first_fit_validation")
    return Unlearned(queries, vectors)


def _with_texts(queries: query_set.QuerySet, spec: FeatureSpec) -> query_set.QuerySet:
    return replace(queries, texts=loading.joined_texts(queries.inputs, spec.query.features))


def _training_texts(preprocessed: Path, spec: FeatureSpec) -> list[str] | None:
    if not loading.text_inputs(spec.query.features):
        return None
    texts: list[str] = []
    for batch in stored_examples.read_training_examples(preprocessed, spec):
        texts.extend(loading.joined_texts(batch["query"], spec.query.features) or ())
    return texts


def _vocabulary(
    preprocessed: Path, side: Side, id_column: str, directory: str = files.VOCABULARIES
) -> list[str] | None:
    for feature in side.features:
        if isinstance(feature, IdFeature) and feature.source == id_column:
            path = preprocessed / directory / f"{feature.vocabulary_name}.txt"
            if path.exists():
                return path.read_text(encoding="utf-8").splitlines()
    return None


def _training_log(directory: Path) -> list[evaluated_data.LogLine]:
    path = directory / files.TRAINING_LOG
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        return [evaluated_data.LogLine.from_json(json.loads(line)) for line in lines if line]
    except (ValueError, KeyError, AttributeError) as cause:
        raise CorruptArtifact(
            f"{path}: a line is not JSON with a step: {cause}. Train again."
        ) from cause
