"""Stage `build-index`: the candidate index, with its overlap with exact search."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.stages.context import StageContext, open_lineage
from pipelines.stages.element_counts import check_counts, compare_with_parent
from pipelines.stages.measured_queries import read_measured
from tfrs_twotower.artifacts import (
    Lineage,
    Manifest,
    commit,
    fingerprint,
    read_manifest,
    staging_directory,
)
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import joined_texts, known_candidates, load_corpus, text_inputs
from tfrs_twotower.data.postings import Lexical, Postings
from tfrs_twotower.data.stored_embeddings import read_candidate_embeddings, vectors_of
from tfrs_twotower.data.training_examples import read_training_examples
from tfrs_twotower.evaluation import loading_evaluated_data
from tfrs_twotower.evaluation.baselines import text_baselines
from tfrs_twotower.evaluation.baselines.tuned_baselines import tuning_queries
from tfrs_twotower.evaluation.corpus_ranking import EmbeddingScorer
from tfrs_twotower.evaluation.text_retrieval import LEAST_DEPTH, WordScorer
from tfrs_twotower.index import build, storage
from tfrs_twotower.index.quality import QUALITY_NAME, IndexQuality
from tfrs_twotower.specs import FeatureSpec

WEIGHT_METRIC = "ndcg@10"
"""What the weight of a hybrid is chosen for."""
UNTUNED_WEIGHT = 0.3
"""Weight of the towers' score where no query can choose it: towers without enough questions to tell
have few to learn from, and BM25 needs none."""
_WITH_WORDS = ("lexical", "hybrid")


def config_fingerprint(context: StageContext) -> str:
    """Hash of the settings that the stage reads."""
    settings = context.config.index
    unread = set() if settings.kind in _WITH_WORDS else {"lexical"}
    return fingerprint({"index": settings.model_dump(mode="json", exclude=unread)})


def run(context: StageContext) -> Manifest:
    """Builds the index, measures it on real and perturbed queries, and writes `index/`.

    An index that searches words reads the texts of the corpus too, and a hybrid the validation
    queries, by towers that have not learned them, to choose its weight.

    Raises:
        IndexQualityError: the index misses `index.target_overlap`; nothing is written then.
        ArtifactError: the embeddings are missing, outdated or damaged.
        UnsupportedEnvironment: the config asks for ScaNN, which cannot be loaded.
    """
    layout, reporter = context.layout, context.reporter
    with_words = context.config.index.kind in _WITH_WORDS
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
    )
    lexical, quality = None, built.quality
    if with_words:
        reporter.progress("indexing words", 0, None)
        lexical, chosen = _search_of_words(context)
        quality = replace(
            quality, kind=lexical.kind, parameters={"vectors": built.kind, **quality.parameters}
        )
        quality = replace(quality, parameters={**quality.parameters, **chosen})
    reporter.message(describe_index(quality, len(candidates)))
    index = storage.Index.of(candidates, built, lexical)
    found = {"candidates": ("candidates in the index", len(index.corpus))}
    check_counts("build-index", compare_with_parent(found, parents["embeddings"]))
    return write_index(layout.index, index, quality, lineage)


def _search_of_words(context: StageContext) -> tuple[Lexical, dict[str, Any]]:
    """The search of words, and how it was made, for `quality.json`."""
    layout, spec, settings = context.layout, context.spec, context.config.index
    corpus = load_corpus(layout.preprocessed, spec)
    weight = settings.lexical.question_weight
    postings = build_postings(
        joined_texts(corpus.raw, spec.candidate.features) or [""] * len(corpus),
        k1=settings.lexical.k1,
        b=settings.lexical.b,
        others=_training_questions(layout.preprocessed, spec, corpus) if weight else {},
        other_weight=weight,
    )
    lexical = Lexical(postings, text_inputs(spec.query.features))
    made = {
        **settings.lexical.model_dump(mode="json"),
        "terms": len(postings.terms),
        "words": len(postings.words),
        "postings": len(postings.rows),
    }
    if settings.kind == "lexical":
        return lexical, made
    tuned = _tuned_weight(context, corpus, postings)
    chosen = UNTUNED_WEIGHT if tuned is None else tuned.best[WEIGHT_METRIC]
    made |= {"dense_weight": chosen, "weights_on_validation": tuned.curve if tuned else []}
    found = "without validation queries" if tuned is None else f"for {WEIGHT_METRIC} on validation"
    context.reporter.message(f"hybrid: the towers' score has weight {chosen:g}, chosen {found}")
    return replace(lexical, dense_weight=chosen), made


def _tuned_weight(
    context: StageContext, corpus: Corpus, postings: Postings
) -> text_baselines.TunedWeight | None:
    """The weight of the towers' score; None without queries that they have not learned."""
    layout, spec = context.layout, context.spec
    preprocessed = read_manifest(layout.preprocessed, "preprocessed")
    if not preprocessed.counts.get("validation_queries", 0):
        return None
    queries, vectors = loading_evaluated_data.load_unlearned(layout, spec, corpus)
    if not len(queries.embeddings):
        return None
    if vectors is None:
        ids, where = corpus.ids.tolist(), f"{layout.embeddings}, candidates"
        vectors = vectors_of(read_candidate_embeddings(layout.embeddings), ids, where)
    known_only = spec.split.known_candidates_only
    eligible = (
        known_candidates(layout.preprocessed, corpus) if known_only else np.ones(len(corpus), bool)
    )
    queries = tuning_queries(queries, len(corpus))
    return text_baselines.tune_weight(
        EmbeddingScorer(queries.embeddings, vectors),
        WordScorer(postings, queries.texts or []),
        queries,
        eligible,
        (WEIGHT_METRIC,),
        LEAST_DEPTH,
    )


def _training_questions(
    preprocessed: Path, spec: FeatureSpec, corpus: Corpus
) -> dict[int, list[str]]:
    """Texts of the training queries by the row of a candidate that answers them, each once."""
    questions: dict[int, dict[str, None]] = {}
    for batch in read_training_examples(preprocessed, spec):
        raw = {name: values.numpy() for name, values in batch["query"].items()}
        texts = joined_texts(raw, spec.query.features) or []
        rows = corpus.row_of(batch["candidate_id"].numpy().tolist())
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
