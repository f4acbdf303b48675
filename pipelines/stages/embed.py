"""Stage `embed`: embeddings of the corpus and of the evaluated queries."""

import functools

import pyarrow.parquet as pq

from pipelines.stages import fingerprints, measured_queries, unchanged_candidates
from pipelines.stages.context import StageContext, open_lineage, record_counters
from pipelines.stages.element_counts import check_counts, compare_with_parent
from pipelines.transforms import beam_job, embedding
from tfrs_twotower.artifacts import Manifest, commit, layout, staging_directory
from tfrs_twotower.data.shards import find_shards
from tfrs_twotower.specs import FeatureSpec, TextFeature

_RECORDS = (
    ("candidates", "candidate", layout.CORPUS_GLOB, layout.WEIGHTS),
    ("validation", "query", layout.VALIDATION_GLOB, layout.WEIGHTS),
    ("test", "query", layout.TEST_GLOB, layout.WEIGHTS),
)
_FIRST_FIT_RECORDS = (
    (layout.FIRST_FIT_CANDIDATES, "candidate", layout.CORPUS_GLOB, layout.FIRST_FIT_WEIGHTS),
    (layout.FIRST_FIT_VALIDATION, "query", layout.VALIDATION_GLOB, layout.FIRST_FIT_WEIGHTS),
)


config_fingerprint = fingerprints.embed


def texts_meet(spec: FeatureSpec) -> bool:
    """Whether both sides have text, so that the evaluation fuses retrieval with BM25."""
    sides = (spec.query.features, spec.candidate.features)
    return all(any(isinstance(one, TextFeature) for one in features) for features in sides)


def run(context: StageContext) -> Manifest:
    """Embeds every record and writes `embeddings/`.

    Beside the corpus and the evaluated queries these are perturbed queries, and, where a weight is
    going to be chosen on validation queries that the final towers have learned, corpus and
    validation queries by the towers of the first fit.

    Raises:
        EmbeddingError: an embedding is NaN, infinite or has norm zero; nothing is written then.
        LostElements: the engine lost or repeated elements.
        ArtifactError: the examples or the model are missing, outdated or damaged.
    """
    run_layout, settings = context.layout, context.config.embed
    lineage, parents = open_lineage(context, ["preprocessed", "model"], config_fingerprint(context))
    preprocessed, model = parents["preprocessed"], parents["model"]
    measured = measured_queries.split_to_measure(preprocessed, model)
    records = list(_RECORDS)
    has_validation = preprocessed.counts.get("validation_queries", 0) > 0
    if model.details.get("refitted", False) and has_validation and texts_meet(context.spec):
        records += _FIRST_FIT_RECORDS
    staging = staging_directory(run_layout.embeddings)
    jobs = [
        embedding.EmbeddingJob(
            name=name,
            side=side,
            inputs=tuple(str(path) for path in find_shards(run_layout.preprocessed, pattern)),
            output_dir=staging.resolve(),
            num_shards=settings.num_shards,
            batch_size=settings.batch_size,
            model_dir=run_layout.model.resolve(),
            spec=context.spec,
            weights=weights,
            width=settings.width,
        )
        for name, side, pattern, weights in records
    ]
    before = unchanged_candidates.embeddings_before(run_layout.embeddings, model)
    kept = None
    if before is not None:
        jobs[0], kept = unchanged_candidates.only_changed(jobs[0], before)
    counters = beam_job.run_pipeline(
        functools.partial(embedding.embed_all, jobs=jobs),
        context.beam_options,
        context.reporter,
        "embedding",
    )
    embedding.remove_parts(staging)
    record_counters(run_layout.root, "embed", counters)
    if kept is not None:
        unchanged_candidates.join(jobs[0], kept)
        context.reporter.message(f"{kept.num_rows:,} unchanged candidates keep their vectors")
    if context.config.daily.freeze_candidate_tower:
        corpus = find_shards(run_layout.preprocessed, layout.CORPUS_GLOB)
        unchanged_candidates.write_hashes(corpus, staging)
    counts = {
        job.name: sum(
            pq.read_metadata(path).num_rows for path in staging.glob(f"{job.name}-*.parquet")
        )
        for job in jobs
    }
    found = {
        name: (f"embeddings of {job}", counts[job])
        for name, job in (
            ("candidates", "candidates"),
            ("validation_queries", "validation"),
            ("test_queries", "test"),
        )
    }
    check_counts("embed", compare_with_parent(found, preprocessed))
    if (split := measured[measured_queries.MEASURED_SPLIT]) is not None:
        measured_queries.write_perturbed_of_run(
            run_layout, staging, context.spec, split, width=settings.width
        )
    return commit(
        staging,
        run_layout.embeddings,
        kind="embeddings",
        **lineage._asdict(),
        counts=counts,
        details=measured,
    )
