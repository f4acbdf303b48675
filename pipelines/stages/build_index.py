"""Stage `build-index`: the candidate index, with its overlap with exact search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.stages import fingerprints
from pipelines.stages.context import StageContext, open_lineage
from pipelines.stages.element_counts import check_counts, compare_with_parent
from pipelines.stages.measured_queries import read_measured
from tfrs_twotower import artifacts
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.config import searches_words
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.first_fit import LONGEST, FirstFitRecall
from tfrs_twotower.data.loading import joined_texts, load_corpus, text_inputs
from tfrs_twotower.data.postings import LEAST_DEPTH, Lexical, Postings
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.data.stored_embeddings import read_candidate_embeddings, vectors_of
from tfrs_twotower.data.stored_examples import read_training_examples
from tfrs_twotower.data.stored_tables import known_candidates
from tfrs_twotower.evaluation import loading_evaluated_data
from tfrs_twotower.evaluation.baselines import text_baselines
from tfrs_twotower.evaluation.baselines.tuned_baselines import tuning_queries
from tfrs_twotower.evaluation.corpus_ranking import EmbeddingScorer, rank_corpus
from tfrs_twotower.evaluation.text_retrieval import TextRetrieval, WordScorer
from tfrs_twotower.index import build, storage
from tfrs_twotower.index.quality import QUALITY_NAME, IndexQuality
from tfrs_twotower.ranking import FloatArray, GroundTruth, Ragged
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.training.validation import recall_by_length

WEIGHT_METRIC = "ndcg@10"
"""What the weight of a hybrid is chosen for."""
UNTUNED_WEIGHT = 0.3
"""Weight of the towers' score as far as no queries tell otherwise: towers without enough questions
to tell have few to learn from, and BM25 needs none."""
UNTUNED_FEEDBACK = 0.3
"""Share of the first passages' words in a query as far as no queries tell otherwise."""
_ASKED_FOR_FEEDBACK = 500
"""Training questions, and validation queries, that choose this share."""


config_fingerprint = fingerprints.build_index


def run(context: StageContext) -> artifacts.Manifest:
    """Builds the index, measures it on real and perturbed queries, and writes `index/`.

    An index that searches words reads the texts of the corpus too, and a hybrid the validation
    queries, by towers that have not learned them, to choose its weight.

    Raises:
        IndexQualityError: the index misses `index.target_overlap`; nothing is written then.
        ArtifactError: the embeddings are missing, outdated or damaged.
        UnsupportedEnvironment: the config asks for ScaNN, which cannot be loaded.
    """
    layout, reporter = context.layout, context.reporter
    with_words = searches_words(context.config)
    kinds: list[Kind] = ["preprocessed", "embeddings"] if with_words else ["embeddings"]
    lineage, parents = open_lineage(context, kinds, config_fingerprint(context))
    candidates = read_candidate_embeddings(layout.embeddings)
    queries = read_measured(layout, context.config.index.num_measured_queries)
    built = build.build_index(
        candidates.vectors,
        queries.real,
        context.config.index,
        lambda description, done, total: reporter.progress(description, done, total),
        perturbed=queries.perturbed,
        to_target=context.since is not None,
    )
    quality, words = built.quality, None
    if with_words:
        reporter.progress("indexing words", 0, None)
        words = _search_of_words(context)
        parameters = {"vectors": built.kind, **quality.parameters, **words.parameters}
        quality = replace(quality, kind=words.lexical.kind, parameters=parameters)
    reporter.message(describe_index(quality, len(candidates)))
    index = storage.Index.of(candidates, built, words and words.lexical)
    found = {"candidates": ("candidates in the index", len(index.corpus))}
    check_counts("build-index", compare_with_parent(found, parents["embeddings"]))
    return write_index(layout.index, index, quality, lineage, words and words.first_fit)


class _Words(NamedTuple):
    """A search of words, and how it was made."""

    lexical: Lexical
    parameters: dict[str, Any]
    """For `quality.json`."""
    first_fit: FirstFitRecall | None
    """What it finds with the towers of the first fit, if a refit has followed."""


def _search_of_words(context: StageContext) -> _Words:
    layout, spec, settings = context.layout, context.spec, context.config.index
    corpus = load_corpus(layout.preprocessed, spec)
    weight, with_feedback = settings.lexical.question_weight, settings.lexical.feedback
    questions: dict[int, list[str]] = {}
    if weight or with_feedback:
        questions = _training_questions(layout.preprocessed, spec, corpus)

    def indexed(other_weight: float) -> Postings:
        return build_postings(
            joined_texts(corpus.raw, spec.candidate.features) or [""] * len(corpus),
            k1=settings.lexical.k1,
            b=settings.lexical.b,
            others=questions,
            other_weight=other_weight,
        )

    postings = indexed(weight)
    lexical = Lexical(postings, text_inputs(spec.query.features))
    parameters = {
        **settings.lexical.model_dump(mode="json"),
        "terms": len(postings.terms),
        "words": len(postings.words),
        "postings": len(postings.rows),
    }
    validation = _Validation.of(context, corpus)
    if with_feedback:
        asked = [_question_set(questions).sample(_ASKED_FOR_FEEDBACK, seed=0)]
        if validation is not None:
            asked.append(validation.queries.sample(_ASKED_FOR_FEEDBACK, seed=0))
        # A passage must not hold the question that it is to be found by.
        plain = indexed(0.0) if weight else postings
        eligible = _eligible(context, corpus)
        share, means = text_baselines.tune_feedback(
            plain, asked, eligible, WEIGHT_METRIC, UNTUNED_FEEDBACK
        )
        parameters |= {"feedback": share, "feedback_on_questions": means}
        context.reporter.message(
            f"the words of a query's first passages have weight {share:g}, chosen for "
            f"{WEIGHT_METRIC} on {sum(map(len, asked)):,} training and validation questions"
        )
        lexical = replace(lexical, feedback=share)
    if settings.kind == "hybrid":
        tuned = None if validation is None else validation.tuned_weight(lexical)
        chosen = UNTUNED_WEIGHT
        if tuned is not None:
            chosen = tuned.cautious(WEIGHT_METRIC, towards=UNTUNED_WEIGHT)
        curve = [] if tuned is None else tuned.curve
        parameters |= {"dense_weight": chosen, "weights_on_validation": curve}
        how = "the default" if tuned is None else f"chosen for {WEIGHT_METRIC} on validation"
        context.reporter.message(f"hybrid: the towers' score has weight {chosen:g}, {how}")
        lexical = replace(lexical, dense_weight=chosen)
    refitted = artifacts.read_manifest(layout.embeddings, "embeddings").details.get(
        "refitted", False
    )
    first_fit = validation.recall(lexical) if validation is not None and refitted else None
    return _Words(lexical, parameters, first_fit)


@dataclass(frozen=True)
class _Validation:
    """The validation queries, with vectors by towers that have not learned them."""

    queries: QuerySet
    vectors: FloatArray
    """`[num_candidates, embedding_dim]`."""
    eligible: NDArray[np.bool_]
    """`[num_candidates]` candidates that are ranked."""

    @classmethod
    def of(cls, context: StageContext, corpus: Corpus) -> "_Validation | None":
        """Reads them; None if there are none, or only towers that learned them embedded them."""
        layout, spec = context.layout, context.spec
        manifest = artifacts.read_manifest(layout.preprocessed, "preprocessed")
        if not manifest.counts.get("validation_queries", 0):
            return None
        queries, vectors = loading_evaluated_data.load_unlearned(layout, spec, corpus)
        if not len(queries.embeddings):
            return None
        if vectors is None:
            ids, where = corpus.ids.tolist(), f"{layout.embeddings}, candidates"
            vectors = vectors_of(read_candidate_embeddings(layout.embeddings), ids, where)
        return cls(queries, vectors, _eligible(context, corpus))

    def tuned_weight(self, lexical: Lexical) -> text_baselines.TunedWeight:
        """The weight of the towers' score in a hybrid."""
        queries = tuning_queries(self.queries, len(self.vectors))
        return text_baselines.tune_weight(
            EmbeddingScorer(queries.embeddings, self.vectors),
            WordScorer(lexical.postings, queries.texts or [], lexical.feedback),
            queries,
            self.eligible,
            (WEIGHT_METRIC,),
            LEAST_DEPTH,
        )

    def recall(self, lexical: Lexical) -> FirstFitRecall:
        """What the index would find, for the release gate."""
        queries = self.queries
        dense = EmbeddingScorer(queries.embeddings, self.vectors)
        search = TextRetrieval(lexical, dense, queries.texts or [])
        k = min(LONGEST, len(self.vectors))
        ranked = rank_corpus(search, queries, self.eligible, k)
        return FirstFitRecall(len(queries), tuple(recall_by_length(ranked, queries)))


def _eligible(context: StageContext, corpus: Corpus) -> NDArray[np.bool_]:
    """`[num_candidates]` candidates that are ranked."""
    if context.spec.split.known_candidates_only:
        return known_candidates(context.layout.preprocessed, corpus)
    return np.ones(len(corpus), bool)


def _question_set(questions: Mapping[int, Sequence[str]]) -> QuerySet:
    """The questions that `_training_questions` reads, each with all rows that answer it."""
    answers: dict[str, list[int]] = {}
    for row, texts in questions.items():
        for text in texts:
            answers.setdefault(text, []).append(row)
    truth = GroundTruth.from_lists([np.array(rows) for rows in answers.values()])
    return QuerySet(truth, Ragged.from_lists([[]] * len(answers)), texts=list(answers))


def _training_questions(
    preprocessed: Path, spec: FeatureSpec, corpus: Corpus
) -> dict[int, list[str]]:
    """Texts of the training queries by the row of a candidate that answers them, each once."""
    questions: dict[int, dict[str, None]] = {}
    for batch in read_training_examples(preprocessed, spec):
        texts = joined_texts(batch["query"], spec.query.features) or []
        rows = corpus.row_of(batch["candidate_id"])
        for row, text in zip(rows.tolist(), texts, strict=True):
            if row >= 0:
                questions.setdefault(row, {})[text] = None
    return {row: list(texts) for row, texts in questions.items()}


def describe_index(quality: IndexQuality, num_candidates: int) -> str:
    """Describes a built index in one line."""
    return (
        f"{quality.kind} index of {num_candidates:,} candidates: overlap@{quality.k} "
        f"{quality.overlap:.4f} on {quality.num_queries:,} queries (worst tenth "
        f"{quality.worst_decile:.4f}), {quality.perturbed_overlap:.4f} on perturbed queries (worst "
        f"tenth {quality.perturbed_worst_decile:.4f})"
    )


def write_index(
    directory: Path,
    index: storage.Index,
    quality: IndexQuality,
    lineage: artifacts.Lineage,
    first_fit: FirstFitRecall | None = None,
) -> artifacts.Manifest:
    """Writes an `index` artifact; it replaces an earlier one."""
    staging = artifacts.staging_directory(directory)
    storage.save_index(staging, index)
    if first_fit is not None:
        first_fit.write(staging)
    quality.write(staging)
    return artifacts.commit(
        staging,
        directory,
        kind="index",
        **lineage._asdict(),
        counts={"candidates": len(index.corpus), "k": quality.k},
        details={"kind": quality.kind, "overlap": quality.overlap},
        measurements=(QUALITY_NAME,),
    )
