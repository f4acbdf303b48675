"""The releases of an export: from the run's artifacts to what each bundle is made from."""

from dataclasses import replace

from pipelines.stages.context import StageContext
from serving.bundle.candidate_hashes import content_hashes
from serving.bundle.parity import sample_rows
from serving.bundle.sharding import rows_of_shards, shard_name
from serving.graph.release import Probe, RefreshParts, Release, ReleaseSettings
from serving.graph.towers import trained_towers
from tfrs_twotower.artifacts import Lineage
from tfrs_twotower.config import BundleConfig
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.embeddings import read_query_embeddings
from tfrs_twotower.index.restricts import CandidateAttributes
from tfrs_twotower.index.storage import load_index
from tfrs_twotower.index.sweep import sample_queries
from tfrs_twotower.ranking import FloatArray
from tfrs_twotower.towers.pre_ranker import load_pre_ranker
from tfrs_twotower.towers.storage import load_towers

_PROBED_ROWS = 32


def read_release(context: StageContext, corpus: Corpus, lineage: Lineage) -> Release:
    """The release of the whole corpus, with the built index.

    Args:
        context: the run; its artifacts were checked.
        corpus: of the preprocessed artifact.
        lineage: what the manifests say about the artifacts.

    Raises:
        ConfigError: `export.restricts` names something else than a feature with values.
        ArtifactError: an artifact cannot be read.
    """
    layout, config, spec = context.layout, context.config, context.spec
    index = load_index(layout.index)
    attributes = None
    if config.export.restricts:
        declared = spec.candidate.features, config.export.restricts
        attributes = CandidateAttributes.of(corpus.raw, *declared)
    return Release(
        settings=ReleaseSettings(
            name=config.name,
            exact=False,
            export=config.export,
            index=config.index.model_copy(update={"kind": index.kind}),
        ),
        towers=trained_towers(load_towers(layout.model), spec),
        index=index,
        queries=_index_queries(context),
        lineage=lineage,
        pre_ranker=load_pre_ranker(layout.pre_ranker) if config.pre_ranking else None,
        attributes=attributes,
        refresh=RefreshParts(
            towers_dir=layout.model,
            pre_ranker_dir=layout.pre_ranker,
            hashes=content_hashes(corpus.raw),
            probe=_probe(corpus),
        ),
    )


def releases_of_bundle(
    whole: Release, bundle: BundleConfig, corpus: Corpus
) -> list[tuple[str, Release]]:
    """A bundle of a run, or its shards, by directory name.

    Args:
        whole: what `read_release` gave.
        bundle: its entry in `export.bundles`.
        corpus: of the preprocessed artifact.

    Raises:
        BundleError: a shard would be empty.
        IndexQualityError: the index of a shard misses the target overlap.
    """
    settings = whole.settings.model_copy(
        update={"name": bundle.name, "exact": bundle.index == "brute_force"}
    )
    whole = replace(whole, settings=settings)
    num_shards = settings.export.shards
    if num_shards == 1:
        return [(bundle.name, whole)]
    return [
        (
            shard_name(bundle.name, shard, num_shards),
            whole.shard(shard, rows, _probe(corpus.take(rows))),
        )
        for shard, rows in enumerate(rows_of_shards(whole.corpus.ids, num_shards))
    ]


def _probe(corpus: Corpus) -> Probe:
    rows = sample_rows(corpus.raw, _PROBED_ROWS)
    return Probe(rows, corpus.take(rows).raw)


def _index_queries(context: StageContext) -> FloatArray:
    """The embeddings that the build-index stage measured on."""
    directory = context.layout.embeddings
    vectors = read_query_embeddings(directory, "validation").vectors
    if not len(vectors):
        vectors = read_query_embeddings(directory, "test").vectors
    return sample_queries(vectors, context.config.index.num_measured_queries)
