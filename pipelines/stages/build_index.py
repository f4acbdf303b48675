"""Stage `build-index`: the candidate index, with its overlap with exact search."""

from pathlib import Path

from pipelines.stages.context import StageContext, open_lineage
from pipelines.stages.element_counts import check_counts, compare_with_parent
from pipelines.stages.measured_queries import read_measured
from tfrs_twotower.artifacts import Lineage, Manifest, commit, fingerprint, staging_directory
from tfrs_twotower.data.stored_embeddings import read_candidate_embeddings
from tfrs_twotower.index import build, storage
from tfrs_twotower.index.quality import QUALITY_NAME, IndexQuality


def config_fingerprint(context: StageContext) -> str:
    """Hash of the settings that the stage reads."""
    return fingerprint({"index": context.config.index.model_dump(mode="json")})


def run(context: StageContext) -> Manifest:
    """Builds the index, measures it on real and perturbed queries, and writes `index/`.

    Raises:
        IndexQualityError: the index misses `index.target_overlap`; nothing is written then.
        ArtifactError: the embeddings are missing, outdated or damaged.
        UnsupportedEnvironment: the config asks for ScaNN, which cannot be loaded.
    """
    layout, reporter = context.layout, context.reporter
    lineage, parents = open_lineage(context, ["embeddings"], config_fingerprint(context))
    candidates = read_candidate_embeddings(layout.embeddings)
    queries = read_measured(layout, context.config.index.num_measured_queries)
    built = build.build_index(
        candidates.vectors,
        queries.real,
        context.config.index,
        lambda description, done, total: reporter.progress(description, done, total),
        perturbed=queries.perturbed,
    )
    reporter.message(describe_index(built.quality, len(candidates)))
    index = storage.Index.of(candidates, built)
    found = {"candidates": ("candidates in the index", len(index.corpus))}
    check_counts("build-index", compare_with_parent(found, parents["embeddings"]))
    return write_index(layout.index, index, built.quality, lineage)


def describe_index(quality: IndexQuality, num_candidates: int) -> str:
    """Describes a built index in one line."""
    return (
        f"{quality.kind} index of {num_candidates:,} candidates: overlap@{quality.k} "
        f"{quality.overlap:.4f} on {quality.num_queries:,} queries (worst tenth "
        f"{quality.worst_decile:.4f}), {quality.perturbed_overlap:.4f} on perturbed queries (worst "
        f"tenth {quality.perturbed_worst_decile:.4f})"
    )


def write_index(
    directory: Path, index: storage.Index, quality: IndexQuality, lineage: Lineage
) -> Manifest:
    """Writes an `index` artifact; it replaces an earlier one."""
    staging = staging_directory(directory)
    storage.save_index(staging, index)
    quality.write(staging)
    return commit(
        staging,
        directory,
        kind="index",
        **lineage._asdict(),
        counts={"candidates": len(index.corpus), "k": quality.k},
        details={"kind": quality.kind, "overlap": quality.overlap},
        measurements=(QUALITY_NAME,),
    )
