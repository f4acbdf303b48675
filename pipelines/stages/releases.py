"""The releases that an export makes bundles from, and the checks of their saved models."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy.typing as npt

from pipelines.stages.context import StageContext
from serving.bundle import gate, loading, measures, parity, versions
from serving.graph.release import Probe, RefreshParts, Release, ReleaseSettings, content_hashes
from serving.graph.signatures import CANDIDATE_EMBEDDING, QUERY_EMBEDDING, trained_towers
from tfrs_twotower.artifacts import Lineage, read_manifest
from tfrs_twotower.config import BundleConfig
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import load_query_set, read_query_embeddings
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.errors import BundleError
from tfrs_twotower.index import restricts, storage, sweep
from tfrs_twotower.ranking import FloatArray
from tfrs_twotower.towers.pre_ranker import load_pre_ranker
from tfrs_twotower.towers.storage import load_towers

_COMPARED_ROWS = 32
_PROBED_ROWS = 32


def read_release(context: StageContext, corpus: Corpus, lineage: Lineage) -> Release:
    """Reads the release of the whole corpus, with the built index.

    Args:
        context: the run, whose artifacts have been checked.
        corpus: the corpus of the preprocessed artifact.
        lineage: fingerprints of the artifacts.

    Raises:
        ConfigError: `export.restricts` names something other than a feature with values.
        ArtifactError: an artifact cannot be read.
    """
    layout, config, spec = context.layout, context.config, context.spec
    index = storage.load_index(layout.index)
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
            whole.shard(shard, rows, _probe(corpus.take(rows))),
        )
        for shard, rows in enumerate(versions.rows_of_shards(whole.corpus.ids, num_shards))
    ]


def _probe(corpus: Corpus) -> Probe:
    rows = parity.sample_rows(corpus.raw, _PROBED_ROWS)
    return Probe(rows, corpus.take(rows).raw)


def _index_queries(context: StageContext) -> FloatArray:
    """The embeddings that the build-index stage measured the index on."""
    directory = context.layout.embeddings
    vectors = read_query_embeddings(directory, "validation").vectors
    if not len(vectors):
        vectors = read_query_embeddings(directory, "test").vectors
    return sweep.sample_queries(vectors, context.config.index.num_measured_queries)


class Compared(NamedTuple):
    """Some records and their offline embeddings, to compare a bundle with."""

    raw: dict[str, npt.NDArray[Any]]
    vectors: FloatArray
    """`[num_rows, embedding_dim]` embeddings of the records."""


class BundleChecks:
    """Compares a saved model with index and pre-ranker, on queries if any, and measures it."""

    def __init__(self, context: StageContext, corpus: Corpus, whole: Release) -> None:
        """Reads the records and embeddings to compare with.

        Args:
            context: the run.
            corpus: the corpus of the preprocessed artifact.
            whole: the release of the whole corpus.

        Raises:
            BundleError: the embeddings or the index belong to other records than the examples.
        """
        self._queries = _compared_queries(context, corpus)
        indexed = whole.corpus
        self._candidates = _compared(corpus.ids, corpus.raw, indexed.ids, indexed.vectors)
        self._corpus = corpus
        self._judged = _judged_queries(context, corpus)

    def of(self, release: Release) -> Callable[[loading.LoadedModel], Mapping[str, Any]]:
        """Returns the check of a model made from a release; it raises, or returns measures.

        Raises:
            BundleError: (by the check) vectors or lists of the model differ from the offline ones.
        """
        judged = self._judged
        if judged is not None:
            judged = judged.among(self._corpus.row_of(release.corpus.ids), len(self._corpus))

        def check(model: loading.LoadedModel) -> Mapping[str, Any]:
            if self._queries is not None:
                parity.check_embeddings(model, QUERY_EMBEDDING, *self._queries)
            parity.check_embeddings(model, CANDIDATE_EMBEDDING, *self._candidates)
            queries = model.blank(QUERY_EMBEDDING) if self._queries is None else self._queries.raw
            parity.check_lists(model, queries, release)
            return {gate.MEASURES: measures.measure_model(model, judged, release.corpus)}

        return check


def _compared_queries(context: StageContext, corpus: Corpus) -> Compared | None:
    """Some test queries, or validation queries; None where everything is trained on."""
    layout = context.layout
    counts = read_manifest(layout.preprocessed, "preprocessed").counts
    splits: tuple[Literal["test", "validation"], ...] = ("test", "validation")
    for split in splits:
        if counts.get(f"{split}_queries", 1):
            queries = load_query_set(layout.preprocessed, split, context.spec, corpus)
            embedded = read_query_embeddings(layout.embeddings, split)
            return _compared(queries.ids, queries.inputs, embedded.ids, embedded.vectors)
    return None


def _compared(
    ids: npt.NDArray[Any] | list[str],
    raw: dict[str, npt.NDArray[Any]],
    embedded_ids: npt.NDArray[Any],
    vectors: FloatArray,
) -> Compared:
    if list(ids) != embedded_ids.tolist():
        raise BundleError(
            f"export: the embeddings are of {len(embedded_ids)} other records than the "
            f"{len(ids)} of the examples. Run embed, build-index and export again."
        )
    rows = parity.sample_rows(raw, _COMPARED_ROWS)
    return Compared({name: values[rows] for name, values in raw.items()}, vectors[rows])


def _judged_queries(context: StageContext, corpus: Corpus) -> QuerySet | None:
    """The validation queries that versions are measured on; None if there are none."""
    layout = context.layout
    if not read_manifest(layout.preprocessed, "preprocessed").counts.get("validation_queries", 0):
        return None
    queries = load_query_set(layout.preprocessed, "validation", context.spec, corpus)
    return queries.spread(context.config.index.num_measured_queries)
