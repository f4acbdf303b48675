"""The whole offline evaluation, from arrays to the document of the report."""

from collections.abc import Callable
from dataclasses import dataclass

from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.evaluation import (
    breakdown,
    corpus_ranking,
    evaluated_data,
    evaluation_document,
    leakage,
    protocol_document,
    text_retrieval,
    written_documents,
)
from tfrs_twotower.evaluation.baselines.fitting_baselines import FittedBaseline, fit_baselines
from tfrs_twotower.evaluation.baselines.selection import select
from tfrs_twotower.evaluation.systems import (
    Ranking,
    SystemRun,
    compare,
    key_metrics,
    reported_metrics,
    system_metrics,
)
from tfrs_twotower.evaluation.verdict import verdict_of
from tfrs_twotower.specs import SPLITS

Progress = Callable[[str, float, float], None]
"""Receives a description, the amount done, and the total amount."""


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        document: the content of `evaluation.json`.
        runs: the ranking of each system.
    """

    document: evaluation_document.EvaluationDocument
    runs: dict[str, SystemRun]


def evaluate(
    inputs: evaluated_data.EvaluationInputs,
    config: EvaluateConfig,
    *,
    seed: int = 42,
    refit: bool = False,
    recent_days: float = 28.0,
    index_k: int = 100,
    progress: Progress = lambda description, done, total: None,
) -> Evaluation:
    """Ranks the corpus with every system and measures all of them in the same way.

    Args:
        inputs: the evaluated data.
        config: list lengths, baselines, resamples.
        seed: seed of the resamples.
        refit: whether the model learned from validation too.
        recent_days: window of `recent_popularity`.
        index_k: list length in the name of the overlap if there is no index.
        progress: receives a description, the amount done, and the total amount.
    """
    ks, truth = tuple(sorted(config.ks)), inputs.test.truth
    selection = select(inputs, config, refit=refit)
    steps = len(selection.names) + 1
    progress("rank retrieval", 0, steps)
    scorer = text_retrieval.retrieval_of(inputs)
    cascade = corpus_ranking.rank_cascade(
        scorer, inputs.test, inputs.eligible, inputs.second_stage, max(ks)
    )
    runs = {
        "retrieval": SystemRun("retrieval", Ranking.of(cascade.retrieved, truth)),
        "cascade": SystemRun("cascade", Ranking.of(cascade.ranked, truth)),
    }
    if inputs.reference is not None:
        progress("rank cross_encoder", 0, steps)
        again = corpus_ranking.rank_again(
            scorer, inputs.test, inputs.eligible, inputs.reference, max(ks)
        )
        runs["cross_encoder"] = SystemRun("cross_encoder", Ranking.of(again.ranked, truth))
    settings: dict[str, protocol_document.BaselineSettings] = {}
    for baseline in fit_baselines(
        selection.names,
        inputs,
        config,
        refit=refit,
        recent_days=recent_days,
        metrics=reported_metrics(ks),
        progress=lambda name: progress(f"fit and rank {name}", len(runs) - 1, steps),
    ):
        runs[baseline.name] = _rank(baseline, inputs, max(ks))
        settings[baseline.name] = baseline.settings
    progress("measure", steps, steps)
    measuring = _Measuring(inputs, config, seed, runs, cascade)
    document = measuring.document(settings, selection.left_out, refit=refit, index_k=index_k)
    return Evaluation(document, runs)


def _rank(baseline: FittedBaseline, inputs: evaluated_data.EvaluationInputs, k: int) -> SystemRun:
    rankings: list[Ranking] = []
    of_metric: dict[str, Ranking] = {}
    for metrics, scorer in baseline.variants:
        ranked = corpus_ranking.rank_corpus(scorer(), inputs.test, inputs.eligible, k)
        rankings.append(Ranking.of(ranked, inputs.test.truth))
        of_metric |= dict.fromkeys(metrics, rankings[-1])
    return SystemRun(baseline.name, rankings[0], of_metric)


@dataclass(frozen=True)
class _Measuring:
    """Measures the rankings of all systems."""

    inputs: evaluated_data.EvaluationInputs
    config: EvaluateConfig
    seed: int
    runs: dict[str, SystemRun]
    cascade: corpus_ranking.CascadeRanking

    @property
    def ks(self) -> tuple[int, ...]:
        return tuple(sorted(self.config.ks))

    @property
    def stages(self) -> list[SystemRun]:
        """The model's stages, the served one first; without a second stage only retrieval."""
        names = ["retrieval"] if self.cascade.pool_recall is None else ["cascade", "retrieval"]
        return [self.runs[name] for name in names]

    def document(
        self,
        settings: dict[str, protocol_document.BaselineSettings],
        left_out: dict[str, str],
        *,
        refit: bool,
        index_k: int,
    ) -> evaluation_document.EvaluationDocument:
        inputs, seed = self.inputs, self.seed
        systems = self.systems()
        quality = inputs.index_quality
        document = evaluation_document.EvaluationDocument(
            dataset=inputs.dataset,
            protocol=describe_protocol(
                inputs, self.config, settings, left_out, refit=refit, seed=seed
            ),
            leakage_check=leakage.check_leakage(inputs),
            systems=systems,
            funnel=evaluation_document.Funnel(
                retrieval_exact=systems["retrieval"].metrics,
                index_k=quality.k if quality is not None else index_k,
                ann_overlap=quality.overlap if quality is not None else None,
                pool=self.pool(),
                unranked=breakdown.describe_unranked(
                    self.cascade.served,
                    inputs.eligible,
                    "retrieval" if self.cascade.pool_recall is None else "cascade",
                    self.ks,
                ),
                cascade=systems["cascade"].metrics,
            ),
            comparisons=compare(
                self.stages,
                [run for name, run in self.runs.items() if name not in ("retrieval", "cascade")],
                key_metrics(self.ks),
                num_resamples=self.config.num_bootstrap,
                seed=seed,
            ),
            embedding_space=breakdown.describe_embeddings(
                inputs.test.embeddings,
                inputs.corpus.vectors,
                inputs.test.truth,
                self.runs["retrieval"].ranked,
                k=min(self.ks),
                seed=seed,
            ),
            timings=inputs.timings,
            environment=written_documents.Environment.of_this_process(),
        )
        return document.model_copy(update={"verdict": verdict_of(document)})

    def systems(self) -> dict[str, evaluation_document.SystemFigures]:
        """The figures of each system; a cascade without a second stage has retrieval's."""
        num_bootstrap, alone = self.config.num_bootstrap, self.cascade.pool_recall is None
        runs = [run for name, run in self.runs.items() if not (alone and name == "cascade")]
        metrics = system_metrics(runs, self.inputs, self.ks, num_bootstrap, self.seed)
        slices = breakdown.slice_figures(
            runs,
            self.inputs,
            breakdown.make_slices(self.inputs),
            key_metrics(self.ks),
            num_bootstrap=num_bootstrap,
            seed=self.seed,
        )
        figures = {
            run.name: evaluation_document.SystemFigures(metrics=of_run, slices=of_slices)
            for run, of_run, of_slices in zip(runs, metrics, slices, strict=True)
        }
        return {name: figures.get(name, figures["retrieval"]) for name in self.runs}

    def pool(self) -> evaluation_document.Pool | None:
        """The pool that the second stage scores again; None without a second stage."""
        if self.cascade.pool_recall is None or self.inputs.second_stage is None:
            return None
        return breakdown.describe_pool(
            self.cascade.pool_recall,
            self.inputs.test.truth,
            self.inputs.second_stage,
            {run.name: run.judged for run in reversed(self.stages)},
            self.ks,
            self.config.num_bootstrap,
            self.seed,
        )


def describe_protocol(
    inputs: evaluated_data.EvaluationInputs,
    config: EvaluateConfig,
    settings: dict[str, protocol_document.BaselineSettings],
    left_out: dict[str, str],
    *,
    refit: bool,
    seed: int,
) -> protocol_document.Protocol:
    """The `protocol` of `evaluation.json`.

    Args:
        inputs: the evaluated data.
        config: list lengths and resamples.
        settings: settings of each baseline.
        left_out: baselines that were not computed, with the reason.
        refit: whether the model learned from validation too.
        seed: seed of the resamples.
    """
    split, second_stage = inputs.split, inputs.second_stage
    return protocol_document.Protocol(
        ks=tuple(sorted(config.ks)),
        judged_on=evaluated_data.judged_on(inputs),
        split=split.kind,
        earlier=(
            "earlier in time"
            if split.has_time
            else "earlier by the column of positions: the interactions have no times"
            if split.has_order
            else "earlier in the files: the interactions have no times"
        ),
        window=split.window,
        interactions={
            name: int((inputs.log.split == code).sum()) for code, name in enumerate(SPLITS)
        },
        test_queries=len(inputs.test),
        sampled_from=inputs.all_test_queries,
        validation_queries=len(inputs.validation) if inputs.validation is not None else 0,
        empty_queries=split.empty_queries,
        candidates=len(inputs.corpus),
        ranked_candidates=int(inputs.eligible.sum()),
        relevant_pairs=len(inputs.test.truth.gains),
        ranking="full corpus, exact; score descending, then candidate id ascending",
        seen_candidates=(
            "left out of the ranking (all earlier events of the query, any label)"
            if split.new_pairs_only
            else "stay in the ranking: repeats count as relevant"
        ),
        known_queries_only=split.known_queries_only,
        known_candidates_only=split.known_candidates_only,
        average="mean over queries; a query without relevant candidates is left out and counted",
        recall="found / all relevant (TREC), not divided by min(K, relevant)",
        ndcg="linear gains, log2 discount",
        intervals=f"95 %, percentile bootstrap over queries, {config.num_bootstrap} resamples; "
        + evaluated_data.sampling_in_words(inputs)
        + "they do not cover the noise between training seeds",
        significance="paired randomisation over queries (all patterns of signs, or their "
        "saddlepoint approximation), Holm's correction over all pairs listed, level .05",
        coverage_interval="coverage describes these very lists; its interval is its value"
        + ("; more queries would cover more" if inputs.all_test_queries else ""),
        baselines_learn_from=(
            "training and validation interactions, as the model does (training.refit)"
            if refit
            else "training interactions, as the model does; a test query's own earlier events "
            "include validation, as in the model's histories"
        ),
        baselines_tuned="on validation, for each metric by itself, from a grid that grows until "
        "the best setting is not at its edge; coverage and popularity_lift describe the lists of "
        "ndcg",
        baselines=settings,
        left_out=left_out,
        retrieval=text_retrieval.in_words(inputs.lexical),
        cascade=(
            "retrieval alone: nothing ranks after it"
            if second_stage is None
            else f"the first {second_stage.num_candidates} of exact retrieval, scored again "
            "by the pre-ranker; score descending, then candidate id ascending"
        ),
        cross_encoder=evaluated_data.reference_in_words(inputs),
        seed=seed,
    )
