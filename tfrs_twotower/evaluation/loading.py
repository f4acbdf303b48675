"""Reading what the evaluation looks at from artifacts on disk."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tfrs_twotower.artifacts import Layout, read_manifest
from tfrs_twotower.artifacts.layout import (
    FREQUENCIES_GLOB,
    INTERACTIONS_GLOB,
    STATISTICS,
    TRAINING_LOG,
)
from tfrs_twotower.data.corpus import Corpus, joined_texts, load_corpus
from tfrs_twotower.data.embeddings import (
    Embeddings,
    read_candidate_embeddings,
    read_query_embeddings,
)
from tfrs_twotower.data.evaluation_queries import EvaluationQueries, load_evaluation_queries
from tfrs_twotower.data.raw_inputs import find_shards
from tfrs_twotower.errors import CorruptArtifact, DataError
from tfrs_twotower.evaluation.inputs import (
    SPLIT_NAMES,
    CorpusTable,
    EvaluationInputs,
    InteractionLog,
    QuerySet,
    SecondStage,
    SplitFacts,
)
from tfrs_twotower.evaluation.re_scoring import PreRankerScores
from tfrs_twotower.evaluation.training_facts import load_training_facts
from tfrs_twotower.index.quality import QUALITY_NAME
from tfrs_twotower.metrics import GroundTruth
from tfrs_twotower.ranking.ragged import Ragged
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.pre_ranker import load_pre_ranker


def load_inputs(
    layout: Layout,
    spec: FeatureSpec,
    timings: dict[str, float] | None = None,
    *,
    with_pre_ranker: bool = False,
) -> EvaluationInputs:
    """Reads the preprocessed data, the embeddings, and the index's quality if there is one.

    Args:
        layout: where the artifacts are.
        spec: the feature spec.
        timings: seconds of earlier stages.
        with_pre_ranker: reads the pre-ranker too; without it the cascade is retrieval alone.

    Raises:
        ArtifactError: a file is missing, or the embeddings or the pre-ranker do not fit the data.
    """
    source = layout.preprocessed
    corpus = load_corpus(source, spec)
    ids = [candidate_id.decode() for candidate_id in corpus.ids]
    counts, recent_counts = _frequencies(source, ids)
    has_validation = read_manifest(source, "preprocessed").counts.get("validation_queries", 0) > 0
    asked = load_evaluation_queries(source, "test", spec, corpus)
    return EvaluationInputs(
        dataset=spec.name,
        corpus=CorpusTable(
            ids=ids,
            titles=[title.decode() for title in corpus.titles],
            count=counts,
            recent_count=recent_counts,
            texts=joined_texts(corpus.raw, spec.candidate.features),
        ),
        candidate_embeddings=_vectors_of(
            read_candidate_embeddings(layout.embeddings), ids, f"{layout.embeddings}, candidates"
        ),
        log=_interactions(source, ids),
        test=_query_set(layout, "test", spec, asked),
        validation=_validation(layout, spec, corpus) if has_validation else None,
        eligible=counts > 0 if spec.split.known_candidates_only else np.ones(len(ids), bool),
        split=SplitFacts(
            kind=spec.split.kind,
            new_pairs_only=spec.split.new_pairs_only,
            known_queries_only=spec.split.known_queries_only,
            known_candidates_only=spec.split.known_candidates_only,
            sessions=spec.interactions.session is not None,
        ),
        training=load_training_facts(source, spec),
        statistics=_json(source / STATISTICS) or {},
        index_quality=_json(layout.index / QUALITY_NAME),
        training_log=_json_lines(layout.model / TRAINING_LOG),
        timings=dict(timings or {}),
        second_stage=_second_stage(layout, len(ids), asked.raw) if with_pre_ranker else None,
    )


def _second_stage(layout: Layout, num_candidates: int, raw: dict[str, NDArray[Any]]) -> SecondStage:
    pre_ranker = load_pre_ranker(layout.pre_ranker)
    if len(pre_ranker.candidate_signals) != num_candidates:
        raise CorruptArtifact(
            f"{layout.pre_ranker}: is for {len(pre_ranker.candidate_signals)} candidates, "
            f"the corpus has {num_candidates}. Train the pre-ranker again."
        )
    combination = pre_ranker.combination
    return SecondStage(
        combination.num_candidates,
        PreRankerScores(pre_ranker, raw, layout.pre_ranker),
        dict(zip(combination.features, combination.weights, strict=True)),
        _json_lines(layout.pre_ranker / TRAINING_LOG),
    )


def _validation(layout: Layout, spec: FeatureSpec, corpus: Corpus) -> QuerySet:
    queries = load_evaluation_queries(layout.preprocessed, "validation", spec, corpus)
    return _query_set(layout, "validation", spec, queries)


def _query_set(
    layout: Layout,
    split: Literal["validation", "test"],
    spec: FeatureSpec,
    queries: EvaluationQueries,
) -> QuerySet:
    ids = [query_id.decode() for query_id in queries.query_ids]
    try:
        truth = GroundTruth.from_lists(queries.relevant, queries.gains)
    except ValueError as cause:
        raise DataError(
            f"{layout.preprocessed}, {split} split: {cause}. Labels of relevant interactions are "
            "gains: set relevance.min_label above 0 in the feature spec."
        ) from cause
    return QuerySet(
        split=split,
        ids=ids,
        truth=truth,
        seen=Ragged.from_lists(queries.seen),
        num_events=np.asarray(queries.num_events, np.int64),
        timestamps=np.asarray(queries.timestamps, np.int64),
        embeddings=_vectors_of(
            read_query_embeddings(layout.embeddings, split), ids, f"{layout.embeddings}, {split}"
        ),
        texts=joined_texts(queries.raw, spec.query.features),
    )


def _read_parquet(directory: Path, glob: str) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in find_shards(directory, glob)])


def _vectors_of(found: Embeddings, ids: list[str], where: str) -> NDArray[np.float32]:
    places = pc.index_in(pa.array(ids, pa.string()), pa.array(found.ids, pa.string()))
    if places.null_count:
        missing = ids[pc.index(places.is_null(), True).as_py()]
        raise CorruptArtifact(
            f"{where}: {places.null_count} of {len(ids)} ids have no embedding, such "
            f"as {missing!r}. Run embed again."
        )
    vectors = found.vectors[places.to_numpy(zero_copy_only=False)]
    if not np.isfinite(vectors).all():
        raise CorruptArtifact(f"{where}: an embedding is not finite. Run embed again.")
    return vectors


def _frequencies(directory: Path, ids: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    table = _read_parquet(directory, FREQUENCIES_GLOB)
    places = pc.index_in(
        pa.array(ids, pa.string()), table["candidate_id"].combine_chunks().cast(pa.string())
    )
    known = places.is_valid().to_numpy(zero_copy_only=False)
    order = pc.fill_null(places, 0).to_numpy(zero_copy_only=False)
    counts, recent_counts = (
        np.where(known, table[name].to_numpy()[order], 0).astype(np.int64)
        for name in ("count", "recent_count")
    )
    return counts, recent_counts


def _interactions(directory: Path, ids: list[str]) -> InteractionLog:
    table = _read_parquet(directory, INTERACTIONS_GLOB)
    rows = pc.index_in(
        table["candidate_id"].combine_chunks().cast(pa.string()), pa.array(ids, pa.string())
    )
    table = table.filter(rows.is_valid())
    encoded = table["query_id"].combine_chunks().dictionary_encode()
    splits = pc.index_in(
        table["split"].combine_chunks().cast(pa.string()), pa.array(list(SPLIT_NAMES))
    )
    if splits.null_count:
        raise CorruptArtifact(
            f"{directory}/{INTERACTIONS_GLOB}: a split is none of {', '.join(SPLIT_NAMES)}. "
            "Run preprocess again."
        )
    return InteractionLog(
        query_ids=encoded.dictionary.to_pylist(),
        query=encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        candidate=rows.drop_null().to_numpy(zero_copy_only=False).astype(np.int64),
        timestamp=table["timestamp"].to_numpy().astype(np.int64),
        positive=table["positive"].to_numpy().astype(bool),
        split=splits.to_numpy(zero_copy_only=False).astype(np.int64),
    )


def _json(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValueError as cause:
        raise CorruptArtifact(f"{path}: is not JSON: {cause}. Run its stage again.") from cause


def _json_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except ValueError as cause:
        raise CorruptArtifact(f"{path}: a line is not JSON: {cause}. Train again.") from cause
