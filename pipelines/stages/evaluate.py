"""Stage `evaluate`: measures every system on the test queries; writes `evaluation.json`, a page."""

import time
from pathlib import Path

from pipelines.progress import Reporter
from pipelines.stages import fingerprints
from pipelines.stages.context import StageContext, open_lineage, read_durations
from pipelines.stages.element_counts import check_counts, compare_with_parent
from tfrs_twotower import artifacts
from tfrs_twotower.artifacts.layout import EVALUATION, REPORT_PAGE
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.config import EvaluateConfig, has_cross_encoder, searches_words
from tfrs_twotower.evaluation import (
    evaluated_data,
    evaluating,
    loading_evaluated_data,
    systems,
    written_documents,
)
from tfrs_twotower.evaluation.report import rendering, report_files, report_page

config_fingerprint = fingerprints.evaluate


def run(context: StageContext) -> artifacts.Manifest:
    """Ranks the full corpus with the model and the baselines and writes `report/`.

    The report shows the index and the training logs if they exist. If the run config has
    `pre_ranking`, the cascade is retrieval and the pre-ranker, otherwise only retrieval. A
    cross-encoder that taught the pre-ranker is a further system.

    Raises:
        LostElements: the data is not that of every candidate and every test query.
        ArtifactError: preprocessed data, embeddings or the pre-ranker are missing, outdated or
            damaged.
    """
    layout, config, reporter = context.layout, context.config, context.reporter
    with_pre_ranker = config.pre_ranking is not None
    kinds: list[Kind] = ["preprocessed", "embeddings"]
    if searches_words(config) or (layout.index / artifacts.MANIFEST_NAME).exists():
        kinds.append("index")
    if with_pre_ranker:
        kinds.append("pre_ranker")
    if has_cross_encoder(config):
        kinds.append("negatives")
    lineage, parents = open_lineage(context, kinds, config_fingerprint(context))
    reporter.progress("read artifacts", 0, None)
    seconds = read_durations(layout.root)
    seconds.pop("evaluate", None)  # that of an earlier run
    inputs = loading_evaluated_data.load_inputs(
        layout,
        context.spec,
        seconds,
        with_pre_ranker=with_pre_ranker,
        with_cross_encoder=has_cross_encoder(config),
        config=config.evaluate,
    )
    num_queries = inputs.all_test_queries or len(inputs.test)  # before they are sampled
    found = {
        "candidates": ("candidates to rank", len(inputs.corpus)),
        "test_queries": ("test queries to evaluate", num_queries),
    }
    check_counts("evaluate", compare_with_parent(found, parents["preprocessed"]))
    evaluation = evaluating.evaluate(
        inputs,
        config.evaluate,
        seed=config.seed,
        refit=config.training.refit,
        recent_days=config.preprocess.recent_days,
        index_k=config.index.k,
        progress=reporter.progress,
    )
    return write_report(
        layout.report,
        inputs,
        evaluation,
        config.evaluate,
        config.seed,
        lineage,
        reporter,
        rendering.Origin(context.command, context.documents, time.time()),
    )


def write_report(
    directory: Path,
    inputs: evaluated_data.EvaluationInputs,
    evaluation: evaluating.Evaluation,
    config: EvaluateConfig,
    seed: int,
    lineage: artifacts.Lineage,
    reporter: Reporter,
    origin: rendering.Origin,
) -> artifacts.Manifest:
    """Writes a `report` artifact; it replaces an earlier one.

    Args:
        directory: directory of the artifact.
        inputs: the evaluated data.
        evaluation: the result of the evaluation.
        config: the `evaluate` section.
        seed: seed of the resamples.
        lineage: origin of the artifact, for its manifest.
        reporter: receives the baselines that were left out, and the findings of the leakage check.
        origin: command, documents and date, for the page.
    """
    for name, reason in evaluation.document.protocol.left_out.items():
        reporter.message(f"baseline {name} is left out: {reason}")
    unranked = evaluation.document.funnel.unranked
    if unranked is not None:
        k = max(config.ks)
        share = unranked.taken[f"taken@{k}"]
        reporter.message(
            f"{unranked.candidates:,} candidates are served but not ranked here "
            f"(split.known_candidates_only): they take {share:.1%} of the first {k} that are served"
        )
    leakage = evaluation.document.leakage_check
    for finding in leakage.findings:
        reporter.message(f"leakage check: {finding.count:,} {finding.message}")
    reporter.progress("draw the page", 0, None)
    staging = artifacts.staging_directory(directory)
    written_documents.write_json(staging / EVALUATION, evaluation.document)
    report_files.write_per_query(
        staging / report_files.PER_QUERY,
        inputs.test.ids.tolist(),
        evaluation.runs,
        systems.key_metrics(tuple(config.ks)),
    )
    page = report_page.render_page(evaluation, inputs, config, seed, origin)
    (staging / REPORT_PAGE).write_text(page, encoding="utf-8")
    return artifacts.commit(
        staging,
        directory,
        kind="report",
        **lineage._asdict(),
        counts={"test_queries": len(inputs.test), "systems": len(evaluation.runs)},
        details={"leakage": leakage.verdict},
    )
