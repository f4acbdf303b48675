"""The releases that an export makes bundles from, and the checks of their saved models."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pipelines.stages.context import StageContext
from pipelines.stages.measured_queries import chosen_split, load_spread, read_measured
from serving.bundle import gate, loading, measures, parity, shards_together, versions
from serving.graph.names import CANDIDATE_EMBEDDING, QUERY_EMBEDDING
from serving.graph.release import Probe, RefreshParts, Release, ReleaseSettings, content_hashes
from serving.graph.signatures import trained_towers
from tfrs_twotower.artifacts import Lineage
from tfrs_twotower.config import BundleConfig, searches_words
from tfrs_twotower.data.corpus import Corpus, sample_rows
from tfrs_twotower.data.first_fit import FirstFitRecall
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.data.stored_embeddings import with_embeddings
from tfrs_twotower.errors import BundleError
from tfrs_twotower.index import restricts, storage
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
    queries = read_measured(layout, config.index.num_measured_queries)
    attributes = None
    if config.export.restricts:
        attributes = restricts.CandidateAttributes.of(
            corpus.raw, spec.candidate.features, config.export.restricts
        )
    return Release(
        settings=ReleaseSettings.of(config.name, config.export, config.index, index),
        towers=trained_towers(load_towers(layout.model, width=config.embed.width), spec),
        index=index,
        queries=queries.real,
        lineage=lineage,
        pre_ranker=load_pre_ranker(layout.pre_ranker) if config.pre_ranking else None,
        attributes=attributes,
        refresh=RefreshParts(
            towers_dir=layout.model,
            pre_ranker_dir=layout.pre_ranker,
            hashes=content_hashes(corpus.raw),
            probe=Probe.of(corpus),
        ),
        perturbed=queries.perturbed,
    )


def releases_of_bundle(whole: Release, bundle: BundleConfig, corpus: Corpus) -> list[Release]:
    """The release of a bundle, or those of its shards.

    Args:
        whole: the release of the whole corpus.
        bundle: the entry in `export.bundles`.
        corpus: the same candidates with raw features.

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
        return [whole]
    return [
        whole.shard(shard, rows, Probe.of(corpus.take(rows)))
        for shard, rows in enumerate(versions.rows_of_shards(whole.corpus.ids, num_shards))
    ]


class BundleChecks:
    """Compares a saved model with index and pre-ranker, on queries if any, and measures it."""

    def __init__(self, context: StageContext, corpus: Corpus, whole: Release) -> None:
        """Reads the queries to compare and to measure with.

        Args:
            context: the run.
            corpus: the corpus of the preprocessed artifact.
            whole: the release of the whole corpus.

        Raises:
            ArtifactError: the queries or their embeddings cannot be read, or do not fit.
        """
        self._corpus = corpus.with_vectors(whole.corpus.vectors)
        self._candidates = self._corpus.take(sample_rows(corpus.raw, _COMPARED_ROWS))
        self._asked = _asked_queries(context, corpus)
        self._first_fit = _first_fit_recall(context)

    def of(
        self, whole: Release, releases: Sequence[Release]
    ) -> Callable[[Sequence[loading.LoadedModel]], Mapping[str, Any]]:
        """Returns the check of the models of a bundle; it raises, or returns measures.

        Shards are measured by the lists that a client merges.

        Args:
            whole: the release of the bundle.
            releases: that release, or its shards.

        Raises:
            BundleError: (by the check) vectors or lists of a model differ from the offline ones.
        """
        queries, candidates, asked = None, self._candidates, self._asked.queries
        if asked is not None:
            queries = asked.take(sample_rows(asked.inputs, _COMPARED_ROWS))
            asked = asked.among(self._corpus.row_of(whole.corpus.ids), len(self._corpus))

        def check(models: Sequence[loading.LoadedModel]) -> Mapping[str, Any]:
            for model, release in zip(models, releases, strict=True):
                raw = model.blank(QUERY_EMBEDDING) if queries is None else queries.inputs
                if queries is not None:
                    parity.check_embeddings(model, QUERY_EMBEDDING, raw, queries.embeddings)
                parity.check_embeddings(
                    model, CANDIDATE_EMBEDDING, candidates.raw, candidates.vectors
                )
                parity.check_lists(model, raw, release)
            words = whole.index.lexical
            if len(models) == 1:
                return self._measured(models[0], asked, releases[0], words)
            together = shards_together.ShardModels(models)
            merged = shards_together.ShardReleases(releases)
            details = self._measured(together, asked, merged, words)
            if asked:
                settings = whole.settings.model_copy(update={"exact": releases[0].settings.exact})
                unsharded = replace(whole, settings=settings)
                details[shards_together.AGAINST_UNSHARDED] = shards_together.compare_with_unsharded(
                    together, unsharded, asked, judge=self._judges
                )
            return details

        return check

    @property
    def _judges(self) -> bool:
        """Whether recall of the saved model may be measured."""
        return self._asked.may_be_judged and self._first_fit is None

    def _measured(
        self,
        model: loading.LoadedModel | shards_together.ShardModels,
        asked: QuerySet | None,
        release: Release | shards_together.ShardReleases,
        lexical: Lexical | None,
    ) -> dict[str, Any]:
        """The details of the manifest: what was measured, and on what."""
        first = self._first_fit
        found = measures.Measures({})
        measured_on: dict[str, str] = {}
        if first is not None:
            length, recall = first.at(release.k)
            found |= measures.Measures({f"first_fit_recall@{length}": recall})
            measured_on["first_fit_recall"] = (
                f"{first.num_queries:,} validation queries, by the first fit, which has not "
                "learned them"
            )
        measured_on["answers"] = self._asked.description
        found |= measures.measure_model(model, asked, release.corpus, lexical, judge=self._judges)
        found |= measures.measure_perturbed(release)
        return {
            gate.MEASURES: found.values,
            measures.WORST_DECILE: found.worst_decile,
            measures.MEASURED_ON: measured_on,
        }


class _Asked(NamedTuple):
    """The queries that a saved model is asked."""

    queries: QuerySet | None
    """With their embeddings; None if there are no evaluated queries."""
    may_be_judged: bool
    """Whether recall may be measured: on validation queries that nothing served has learned. Test
    queries are kept for the evaluation."""
    description: str
    """What they are, in words."""


def _asked_queries(context: StageContext, corpus: Corpus) -> _Asked:
    layout = context.layout
    split, learned = chosen_split(layout)
    if split is None:
        return _Asked(None, False, "no queries")
    most = context.config.index.most_measured(len(corpus))
    queries = load_spread(layout.preprocessed, split, context.spec, corpus, most)
    queries = with_embeddings(queries, layout.embeddings, split)
    described = f"{len(queries):,} {split} queries"
    if learned:
        described += ", whose answers the refit has learned"
    return _Asked(queries, split == "validation" and not learned, described)


def _first_fit_recall(context: StageContext) -> FirstFitRecall | None:
    """Recall of what the first fit would serve; None if the towers have learned nothing else."""
    layout, config = context.layout, context.config
    if config.pre_ranking is not None:
        return FirstFitRecall.read(layout.pre_ranker)
    return FirstFitRecall.read(layout.index if searches_words(config) else layout.model)
