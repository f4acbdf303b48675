"""The releases of an export: from the run's artifacts to what each bundle is made from."""

from dataclasses import dataclass, replace

import numpy as np

from pipelines.stages.context import StageContext
from serving.bundle.candidate_hashes import content_hashes
from serving.bundle.measures import MeasuredQueries
from serving.bundle.parity import sample_rows
from serving.bundle.refresh_files import KeptCorpus, RefreshSettings
from serving.bundle.release import Release, RowArray, shard_release
from serving.bundle.sharding import rows_of_shards, shard_name
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.config import BundleConfig
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.embeddings import read_query_embeddings
from tfrs_twotower.data.evaluation_queries import load_evaluation_queries
from tfrs_twotower.index.restricts import CandidateAttributes
from tfrs_twotower.index.storage import load_index
from tfrs_twotower.index.sweep import sample_queries
from tfrs_twotower.ranking.exact import FloatArray
from tfrs_twotower.towers.pre_ranker import load_pre_ranker
from tfrs_twotower.towers.storage import load_towers

_PROBED_ROWS = 32


@dataclass(frozen=True)
class RunArtifacts:
    """What the bundles of a run have in common."""

    context: StageContext
    corpus: Corpus
    release: Release
    """Of the whole corpus, with the built index."""

    @classmethod
    def read(
        cls, context: StageContext, corpus: Corpus, parents: dict[str, str], settings: str
    ) -> "RunArtifacts":
        """Reads model, index and pre-ranker.

        Args:
            context: the run; its artifacts were checked.
            corpus: of the preprocessed artifact.
            parents: fingerprints of the artifacts.
            settings: fingerprint of the stage's config.

        Raises:
            ConfigError: `export.restricts` names something else than a feature with values.
            ArtifactError: an artifact cannot be read.
        """
        layout, config, features = context.layout, context.config, context.spec.candidate.features
        index = load_index(layout.index)
        attributes = None
        if config.export.restricts:
            attributes = CandidateAttributes.of(corpus.raw, features, config.export.restricts)
        rows = sample_rows(corpus.raw, _PROBED_ROWS)
        release = Release(
            settings=RefreshSettings(
                name=config.name,
                exact=False,
                export=config.export,
                index=config.index.model_copy(update={"kind": index.kind}),
            ),
            spec=context.spec,
            towers=load_towers(layout.model),
            towers_dir=layout.model,
            pre_ranker=load_pre_ranker(layout.pre_ranker) if config.pre_ranking else None,
            pre_ranker_dir=layout.pre_ranker,
            corpus=KeptCorpus(
                index.candidate_ids,
                index.titles,
                content_hashes(corpus.raw),
                index.vectors,
                attributes,
            ),
            index=index,
            queries=_index_queries(context),
            probe_rows=rows,
            probe_raw={name: values[rows] for name, values in corpus.raw.items()},
            parents=parents,
            config_fingerprint=settings,
        )
        return cls(context, corpus, release)

    def releases(self, bundle: BundleConfig) -> list[tuple[str, Release]]:
        """The bundle, or its shards, by directory name.

        Raises:
            BundleError: a shard would be empty.
            IndexQualityError: the index of a shard misses the target overlap.
        """
        settings = self.release.settings.model_copy(
            update={"name": bundle.name, "exact": bundle.index == "brute_force"}
        )
        whole = replace(self.release, settings=settings)
        num_shards = settings.export.shards
        if num_shards == 1:
            return [(bundle.name, whole)]
        rows = rows_of_shards(whole.corpus.ids, num_shards)
        return [
            (shard_name(bundle.name, shard, num_shards), self._shard(whole, shard, rows[shard]))
            for shard in range(num_shards)
        ]

    def _shard(self, whole: Release, shard: int, rows: RowArray) -> Release:
        raw = {name: values[rows] for name, values in self.corpus.raw.items()}
        probe_rows = sample_rows(raw, _PROBED_ROWS)
        probe_raw = {name: values[probe_rows] for name, values in raw.items()}
        return shard_release(whole, shard, rows, probe_rows, probe_raw)


def measured_queries(context: StageContext, corpus: Corpus) -> MeasuredQueries | None:
    """The validation queries that versions are measured on; None where there are none.

    Raises:
        ArtifactError: they cannot be read.
    """
    layout = context.layout
    if not read_manifest(layout.preprocessed, "preprocessed").counts.get("validation_queries", 0):
        return None
    found = load_evaluation_queries(layout.preprocessed, "validation", context.spec, corpus)
    most = context.config.index.num_measured_queries
    chosen = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).astype(np.int64))
    return MeasuredQueries(
        {name: values[chosen] for name, values in found.raw.items()},
        [corpus.ids[found.relevant[query]] for query in chosen],
        [corpus.ids[found.seen[query]] for query in chosen],
    )


def _index_queries(context: StageContext) -> FloatArray:
    """The embeddings that the build-index stage measured on."""
    directory = context.layout.embeddings
    vectors = read_query_embeddings(directory, "validation").vectors
    if not len(vectors):
        vectors = read_query_embeddings(directory, "test").vectors
    return sample_queries(vectors, context.config.index.num_measured_queries)
