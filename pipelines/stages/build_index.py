"""Stage `build-index`: the candidate index, with its overlap with exact search."""

from pipelines.stages.context import StageContext, open_parent
from tfrs_twotower.artifacts import Manifest, commit, fingerprint, staging_directory
from tfrs_twotower.data.embeddings import read_candidate_embeddings, read_query_embeddings
from tfrs_twotower.index.build import build_index
from tfrs_twotower.index.quality import QUALITY_NAME
from tfrs_twotower.index.storage import save_index


def config_fingerprint(context: StageContext) -> str:
    """Hash of the settings that the stage reads."""
    return fingerprint({"index": context.config.index.model_dump(mode="json")})


def run(context: StageContext) -> Manifest:
    """Builds the index, measures it on real query embeddings and writes `index/`.

    Raises:
        IndexQualityError: the index misses `index.target_overlap`; nothing is written then.
        ArtifactError: the embeddings are missing, outdated or damaged.
        UnsupportedEnvironment: the config asks for ScaNN, which cannot be loaded.
    """
    layout, reporter = context.layout, context.reporter
    parents = {"embeddings": open_parent(context, "embeddings").fingerprint}
    candidates = read_candidate_embeddings(layout.embeddings)
    queries = read_query_embeddings(layout.embeddings, "validation").vectors
    if not len(queries):
        queries = read_query_embeddings(layout.embeddings, "test").vectors
    built = build_index(
        candidates.vectors,
        queries,
        context.config.index,
        lambda description, done, total: reporter.progress(description, done, total),
    )
    quality = built.quality
    reporter.message(
        f"{quality.kind} index of {len(candidates.ids):,} candidates: overlap@{quality.k} "
        f"{quality.overlap:.4f} on {quality.num_queries:,} queries"
    )
    staging = staging_directory(layout.index)
    save_index(staging, built, candidates.ids, candidates.titles)
    quality.write(staging)
    return commit(
        staging,
        layout.index,
        kind="index",
        spec_fingerprint=fingerprint(context.spec),
        config_fingerprint=config_fingerprint(context),
        parents=parents,
        counts={"candidates": len(candidates.ids), "k": quality.k},
        details={"kind": quality.kind, "overlap": quality.overlap},
        measurements=(QUALITY_NAME,),
    )
