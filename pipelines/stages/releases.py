"""The releases that an export makes bundles from, and the checks of their saved models."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pipelines.stages.context import StageContext
from serving.bundle import gate, loading, measures, parity, versions
from serving.graph.release import Probe, RefreshParts, Release, ReleaseSettings, content_hashes
from serving.graph.signatures import CANDIDATE_EMBEDDING, QUERY_EMBEDDING, trained_towers
from tfrs_twotower.artifacts import Lineage, read_manifest
from tfrs_twotower.config import BundleConfig
from tfrs_twotower.data.corpus import Corpus, sample_rows
from tfrs_twotower.data.loading import load_embedded_queries, load_query_set, read_index_queries
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.errors import BundleError
from tfrs_twotower.index import restricts, storage, sweep
from tfrs_twotower.towers.pre_ranker import load_pre_ranker
from tfrs_twotower.towers.storage import load_towers

_COMPARED_ROWS = 32


def read_release(context: StageContext, corpus: Corpus, lineage: Lineage) -> Release:
    """Reads the release of the whole corpus, with the built index.

    Args:
        context: the run, whose artifacts have been checked.
        corpus: the corpus of the preprocessed artifact.
        lineage: fingerprints of the artifacts.

    Raises:
        BundleError: the index is of another corpus.
        ConfigError: `export.restricts` names something other than a feature with values.
        ArtifactError: an artifact cannot be read.
    """
    layout, config, spec = context.layout, context.config, context.spec
    index = storage.load_index(layout.index)
    if index.corpus.ids.tolist() != corpus.ids.tolist():
        raise BundleError(
            f"{layout.index}: the index has {len(index.corpus)} other candidates than the corpus, "
            f"which has {len(corpus)}. Run embed, build-index and export again."
        )
    attributes = None
    if config.export.restricts:
        attributes = restricts.CandidateAttributes.of(
            corpus.raw, spec.candidate.features, config.export.restricts
        )
    return Release(
        settings=ReleaseSettings(
            name=config.name,
            exact=False,
            export=config.export,
            index=config.index.model_copy(update={"kind": index.kind}),
        ),
        towers=trained_towers(load_towers(layout.model), spec),
        index=index,
        queries=sweep.sample_queries(
            read_index_queries(layout.embeddings), config.index.num_measured_queries
        ),
        lineage=lineage,
        pre_ranker=load_pre_ranker(layout.pre_ranker) if config.pre_ranking else None,
        attributes=attributes,
        refresh=RefreshParts(
            towers_dir=layout.model,
            pre_ranker_dir=layout.pre_ranker,
            hashes=content_hashes(corpus.raw),
            probe=Probe.of(corpus),
        ),
    )


def releases_of_bundle(
    whole: Release, bundle: BundleConfig, corpus: Corpus
) -> list[tuple[str, Release]]:
    """The release of a bundle, or those of its shards, with their directory names.

    Args:
        whole: the release of `read_release`.
        bundle: the entry in `export.bundles`.
        corpus: the corpus of the preprocessed artifact.

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
            versions.shard_name(bundle.name, shard, num_shards),
            whole.shard(shard, rows, Probe.of(corpus.take(rows))),
        )
        for shard, rows in enumerate(versions.rows_of_shards(whole.corpus.ids, num_shards))
    ]


class BundleChecks:
    """Compares a saved model with index and pre-ranker on test queries, and measures it."""

    def __init__(self, context: StageContext, corpus: Corpus, whole: Release) -> None:
        """Reads the queries to compare and to measure with.

        Args:
            context: the run.
            corpus: the corpus of the preprocessed artifact.
            whole: the release of the whole corpus.

        Raises:
            ArtifactError: the queries or their embeddings cannot be read, or do not fit.
        """
        layout, spec = context.layout, context.spec
        tested = load_embedded_queries(layout.preprocessed, layout.embeddings, "test", spec, corpus)
        judged = None
        if read_manifest(layout.preprocessed, "preprocessed").counts.get("validation_queries", 0):
            judged = load_query_set(layout.preprocessed, "validation", spec, corpus)
            judged = judged.spread(context.config.index.num_measured_queries)
        self._judged: QuerySet | None = judged
        """The queries that versions are measured on, if there are any."""
        self._queries = tested.take(sample_rows(tested.inputs, _COMPARED_ROWS))
        rows = sample_rows(corpus.raw, _COMPARED_ROWS)
        self._candidates = corpus.with_vectors(whole.corpus.vectors).take(rows)
        self._corpus = corpus

    def of(self, release: Release) -> Callable[[loading.LoadedModel], Mapping[str, Any]]:
        """Returns the check of a model made from a release; it raises, or returns measures.

        Raises:
            BundleError: (by the check) vectors or lists of the model differ from the offline ones.
        """
        queries, candidates, judged = self._queries, self._candidates, self._judged
        if judged is not None:
            judged = judged.among(self._corpus.row_of(release.corpus.ids), len(self._corpus))

        def check(model: loading.LoadedModel) -> Mapping[str, Any]:
            parity.check_embeddings(model, QUERY_EMBEDDING, queries.inputs, queries.embeddings)
            parity.check_embeddings(model, CANDIDATE_EMBEDDING, candidates.raw, candidates.vectors)
            parity.check_lists(model, queries.inputs, release)
            return {gate.MEASURES: measures.measure_model(model, judged, release.corpus)}

        return check
