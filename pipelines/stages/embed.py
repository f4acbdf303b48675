"""Stage `embed`: embeddings of the corpus and of the evaluated queries."""

import functools

import pyarrow.parquet as pq

from pipelines.stages.context import StageContext, open_parent
from pipelines.stages.element_counts import check_counts, compare_with_parent
from pipelines.transforms import beam_job, embedding
from tfrs_twotower.artifacts import Manifest, commit, fingerprint, staging_directory
from tfrs_twotower.artifacts.layout import CORPUS_GLOB, TEST_GLOB, VALIDATION_GLOB
from tfrs_twotower.data.raw_inputs import find_shards

_RECORDS = (
    ("candidates", "candidate", CORPUS_GLOB),
    ("validation", "query", VALIDATION_GLOB),
    ("test", "query", TEST_GLOB),
)


def config_fingerprint(context: StageContext) -> str:
    """Hash of the settings that the stage reads."""
    return fingerprint({"embed": context.config.embed.model_dump(mode="json")})


def run(context: StageContext) -> Manifest:
    """Embeds every record and writes `embeddings/`.

    Raises:
        EmbeddingError: an embedding is NaN, infinite or has norm zero; nothing is written then.
        LostElements: the engine lost or repeated elements.
        ArtifactError: the examples or the model are missing, outdated or damaged.
    """
    layout, settings = context.layout, context.config.embed
    preprocessed, model = open_parent(context, "preprocessed"), open_parent(context, "model")
    parents = {"preprocessed": preprocessed.fingerprint, "model": model.fingerprint}
    staging = staging_directory(layout.embeddings)
    jobs = [
        embedding.EmbeddingJob(
            name=name,
            side=side,
            inputs=tuple(str(path) for path in find_shards(layout.preprocessed, pattern)),
            output_dir=staging.resolve(),
            num_shards=settings.num_shards,
            batch_size=settings.batch_size,
            model_dir=layout.model.resolve(),
            spec=context.spec,
        )
        for name, side, pattern in _RECORDS
    ]
    beam_job.run_pipeline(
        functools.partial(embedding.embed_all, jobs=jobs),
        context.beam_options,
        context.reporter,
        "embedding",
    )
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
    return commit(
        staging,
        layout.embeddings,
        kind="embeddings",
        spec_fingerprint=fingerprint(context.spec),
        config_fingerprint=config_fingerprint(context),
        parents=parents,
        counts=counts,
    )
