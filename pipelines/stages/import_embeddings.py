"""Imports vectors made elsewhere: writes an index, an evaluation and a bundle; not a stage."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import NonNegativeInt

from pipelines.progress import Reporter
from pipelines.stages import context, vector_files
from pipelines.stages.build_index import describe_index, write_index
from pipelines.stages.element_counts import Compared, check_counts
from pipelines.stages.evaluate import write_report
from pipelines.stages.export import describe
from serving.bundle import exporting, publishing
from serving.graph.names import EMBEDDING
from serving.graph.release import Release, ReleaseSettings
from serving.graph.signatures import query_vectors
from tfrs_twotower.artifacts import Layout
from tfrs_twotower.config import BundleConfig, EvaluateConfig, ExportConfig, IndexConfig
from tfrs_twotower.config.run_config import apply_override
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.lines import breaks_lines
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.documents import Document, parse
from tfrs_twotower.errors import ConfigError, DataError, WorkdirError
from tfrs_twotower.evaluation import budget
from tfrs_twotower.evaluation import evaluated_data as evaluated
from tfrs_twotower.evaluation.evaluating import evaluate
from tfrs_twotower.evaluation.report.rendering import Origin
from tfrs_twotower.index import build, storage, sweep
from tfrs_twotower.index.quality import check_vectors_only
from tfrs_twotower.ranking import FloatArray, GroundTruth, Ragged

_NEEDS_FEATURES = ("bundles", "refreshed", "restricts", "shards")


class ImportConfig(Document):
    """Settings that `--set` can change: the sections of a run config that apply to bare vectors."""

    index: IndexConfig = IndexConfig(server="stock")
    """The candidate index; `auto` chooses a kind that a stock server can load."""
    export: ExportConfig = ExportConfig()
    """The bundle; `bundles`, `refreshed`, `restricts` and `shards` are not allowed."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """The evaluation."""
    seed: NonNegativeInt = 42
    """Seed of all random choices."""


@dataclass(frozen=True)
class Vectors:
    """The imported vectors and judgements."""

    candidates: Corpus
    queries: Corpus | None
    """Sorted by id, like the candidates; None without a file of queries."""
    judged: vector_files.JudgedPairs | None

    @property
    def measured_on(self) -> FloatArray:
        """`[n, embedding_dim]` vectors of the queries."""
        width = self.candidates.vectors.shape[1]
        return np.zeros((0, width), np.float32) if self.queries is None else self.queries.vectors


@dataclass(frozen=True)
class Imported:
    """The output of an import."""

    bundle: publishing.WrittenBundle
    index: Path
    report: Path | None
    """None without judgements."""


def load_import_config(overrides: tuple[str, ...]) -> ImportConfig:
    """The defaults with `--set a.b=value` applied.

    Raises:
        ConfigError: an override is invalid, or needs features, which bare vectors do not have.
    """
    data: dict[str, Any] = {"index": {"server": "stock"}}
    for override in overrides:
        apply_override(data, override)
    config = parse(ImportConfig, data, "import-embeddings", ConfigError)
    for name in _NEEDS_FEATURES:
        if getattr(config.export, name) != getattr(ExportConfig(), name):
            raise ConfigError(
                f"import-embeddings: export.{name} is set; vectors without features become one "
                "bundle that restricts by nothing. Leave it out; `twotower export` has it."
            )
    return config


def run(
    candidates: Path,
    queries: Path | None,
    judgements: Path | None,
    *,
    workdir: Path,
    name: str,
    config: ImportConfig,
    reporter: Reporter,
    command: str = "",
) -> Imported:
    """Writes `index/`, `report/` if there are judgements, and the next version of a bundle.

    The input of the bundle is a query's vector, `embedding`. Nothing is normalised: a score is an
    inner product. Everything is read and measured before anything is written. The output of an
    earlier import is replaced, except the bundle's versions.

    Args:
        candidates: see `pipelines.stages.vector_files.read_vectors`.
        queries: a file of the same form; the index is measured on these queries.
        judgements: see `pipelines.stages.vector_files.read_judgements`; needs queries.
        workdir: directory of the output.
        name: name of the bundle.
        config: the settings.
        reporter: receives messages and progress.
        command: the command, as a line for a shell; the report shows it.

    Raises:
        DataError: a file cannot be read or used.
        ConfigError: the name is not a valid bundle name.
        WorkdirError: the working directory cannot be written, or another run is at work there.
        IndexQualityError: the index misses `index.target_overlap`.
        BundleError: the working directory has a run, or the release gate refused the version.
    """
    parse(BundleConfig, {"name": name}, "import-embeddings", ConfigError)
    vectors = _read_files(candidates, queries, judgements)
    layout = Layout(context.open_workdir(workdir))
    with context.only_run_in(layout.root):
        _refuse_run(layout)
        built = _build(vectors, config, reporter)
        release = _release(vectors.candidates, built, vectors.measured_on, name, config)
        evaluation, judged = None, None
        if vectors.judged is not None:
            queries_with_answers = _query_set(vectors)
            judged = queries_with_answers.spread(config.index.num_measured_queries)
            inputs = _evaluation_inputs(name, vectors, queries_with_answers, built, config.evaluate)
            num_unjudged = len(vectors.measured_on) - len(queries_with_answers)
            if num_unjudged:
                reporter.message(f"{num_unjudged:,} queries have no relevant candidate: left out")
            evaluation = evaluate(
                inputs,
                config.evaluate,
                seed=config.seed,
                index_k=config.index.k,
                progress=reporter.progress,
            )
        written = exporting.publish_release(layout.bundle, release, judged, "import-embeddings")
        made_from = release.lineage._replace(parents={})
        index = write_index(layout.index, release.index, built.quality, made_from)
        if evaluation is not None:
            made_from = made_from._replace(parents={"index": index.fingerprint})
            settings = config.evaluate, config.seed
            files = {"candidates": candidates, "queries": queries, "judgements": judgements}
            documents = {name: str(path) for name, path in files.items()}
            origin = Origin(command, documents, time.time())
            write_report(layout.report, inputs, evaluation, *settings, made_from, reporter, origin)
            reporter.message("the leakage check cannot see what the vectors were trained on")
    for line in describe([written]):
        reporter.message(line)
    return Imported(written, layout.index, layout.report if evaluation is not None else None)


def _read_files(candidates: Path, queries: Path | None, judgements: Path | None) -> Vectors:
    corpus = vector_files.read_vectors(candidates)
    for id_ in corpus.ids:
        if breaks_lines(id_):
            raise DataError(
                f"{candidates}: the id {id_!r} holds a line break or another control character; an "
                "id that is served must not. Change it."
            )
    if queries is None:
        return Vectors(corpus, None, None)
    embedded_queries = vector_files.read_vectors(queries)
    widths = corpus.vectors.shape[1], embedded_queries.vectors.shape[1]
    if widths[0] != widths[1]:
        raise DataError(
            f"{queries}: its vectors have {widths[1]} numbers, those of {candidates} {widths[0]}; "
            "both sides must come from one model. Embed them again."
        )
    if judgements is None:
        return Vectors(corpus, embedded_queries, None)
    judged = vector_files.read_judgements(judgements, embedded_queries, corpus)
    return Vectors(corpus, embedded_queries, judged)


def _refuse_run(layout: Layout) -> None:
    for directory in (layout.preprocessed, layout.model):
        if directory.exists():
            raise WorkdirError(
                f"{layout.root}: holds a run ({directory.name}/), whose index would be replaced; "
                "an import needs a working directory of its own. Name another --workdir."
            )


def _build(vectors: Vectors, config: ImportConfig, reporter: Reporter) -> build.BuiltIndex:
    settings, queries = config.index, vectors.measured_on
    check_vectors_only(settings, "import-embeddings")
    exact = settings.kind == "brute_force" and settings.vectors == "float32"
    if not len(queries) and not exact:
        if settings.kind != "auto" or settings.vectors != "float32":
            raise DataError(
                f"import-embeddings: an index of kind {settings.kind} with {settings.vectors} "
                "vectors is measured on real queries, and there are none. Give --queries, or "
                "leave index.kind and index.vectors out for exact search."
            )
        settings = settings.model_copy(update={"kind": "brute_force"})
        reporter.message("there are no queries to measure an index on: search is exact")
    built = build.build_index(
        vectors.candidates.vectors,
        queries,
        settings,
        reporter.progress,
    )
    reporter.message(describe_index(built.quality, len(vectors.candidates)))
    return built


def _release(
    corpus: Corpus, built: build.BuiltIndex, queries: FloatArray, name: str, config: ImportConfig
) -> Release:
    index, towers = storage.Index.of(corpus, built), query_vectors(corpus.vectors.shape[1])
    pair = Compared("candidates in the index", len(index.corpus), len(corpus), "the file has")
    check_counts("import-embeddings", [pair])
    settings = ReleaseSettings.of(name, config.export, config.index, index)
    queries = sweep.sample_queries(queries, config.index.num_measured_queries)
    return Release(settings, towers, index, queries, exporting.lineage_of(towers, corpus, settings))


def _query_set(vectors: Vectors) -> QuerySet:
    """The queries with at least one candidate that is judged relevant."""
    queries, judged = vectors.queries, vectors.judged
    assert queries is not None
    assert judged is not None
    rows, relevant, gains = judged.by_query()
    embeddings = queries.vectors[rows]
    unknown = np.zeros(len(rows), np.int64)
    return QuerySet(
        GroundTruth.from_lists(relevant, gains),
        Ragged.from_lists([[]] * len(rows)),
        {EMBEDDING: embeddings},
        queries.ids[rows],
        "test",
        num_events=unknown,
        timestamps=unknown,
        embeddings=embeddings,
    )


def _evaluation_inputs(
    name: str,
    vectors: Vectors,
    queries: QuerySet,
    built: build.BuiltIndex,
    config: EvaluateConfig,
) -> evaluated.EvaluationInputs:
    """The inputs of an evaluation without interactions."""
    corpus = vectors.candidates
    most = budget.most_queries(config, len(corpus)) or len(queries)
    sample = queries.sample(most, seed=budget.SAMPLE_SEED)
    none = np.zeros(0, np.int64)
    nothing = np.zeros(len(corpus), np.int64)
    return evaluated.EvaluationInputs(
        dataset=name,
        corpus=corpus,
        counts=nothing,
        recent_counts=nothing,
        log=evaluated.InteractionLog([], none, none, none, none.astype(bool), none),
        test=sample,
        validation=None,
        eligible=np.ones(len(corpus), bool),
        split=evaluated.SplitFacts(
            kind="given",
            new_pairs_only=False,
            empty_queries={"test": len(vectors.measured_on) - len(queries)},
        ),
        index_quality=built.quality,
        all_test_queries=len(queries) if len(sample) < len(queries) else None,
    )
