"""Stage `train-pre-ranker`: from mined lists to the second stage of the cascade."""

from pipelines.stages import fingerprints, training_runs
from pipelines.stages.context import StageContext, open_lineage, search_of_words
from pipelines.stages.element_counts import check_counts, compare_examples
from tfrs_twotower.artifacts import Manifest, commit
from tfrs_twotower.artifacts.layout import TRAINING_LOG
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.config import pre_ranking_of, searches_words
from tfrs_twotower.training.pre_ranker_job import PreRankerResult, train_pre_ranker

config_fingerprint = fingerprints.train_pre_ranker


def run(context: StageContext) -> Manifest:
    """Trains the pre-ranker; continues a killed run with the same inputs.

    Raises:
        ConfigError: the run has no pre-ranking section.
        TrainingError: training diverged, or cannot start.
        ArtifactError: a parent is missing, damaged or outdated.
    """
    layout, pre_ranking = context.layout, pre_ranking_of(context.config)
    kinds: list[Kind] = ["preprocessed", "model"]
    if pre_ranking.models:
        kinds.append("negatives")
    if searches_words(context.config):
        kinds.append("index")
    lineage, parents = open_lineage(context, kinds, config_fingerprint(context))
    staging = training_runs.open_training(context, layout.pre_ranker, lineage)
    result = train_pre_ranker(
        context.spec,
        context.config,
        pre_ranking,
        layout.preprocessed,
        layout.model,
        layout.negatives,
        staging.directory,
        training_runs.TrainingProgress(context),
        checkpoint_root=context.data_root,
        words=search_of_words(context, parents["preprocessed"].counts["candidates"]),
    )
    what, refit = "examples that were learned from", context.config.training.refit
    expected = compare_examples(what, result.num_examples, parents["preprocessed"], refit=refit)
    check_counts("train-pre-ranker", expected)
    staging.close()
    _report_result(context, result)
    return commit(
        staging.directory,
        layout.pre_ranker,
        kind="pre_ranker",
        **lineage._asdict(),
        measurements=(TRAINING_LOG,),
        counts={
            "members": len(result.members),
            "train_examples": result.num_examples,
            "steps": sum(member.steps for member in result.members),
        },
        details={
            "members": [
                training_runs.training_details(member)["details"] for member in result.members
            ],
            "validation": result.validation,
            "weights": result.weights,
            "combination": result.combination,
            "messages": list(result.messages),
        },
    )


def _report_result(context: StageContext, result: PreRankerResult) -> None:
    measured = ", ".join(f"{name} {value:.4f}" for name, value in result.validation.items())
    weights = ", ".join(f"{name} {weight:.3g}" for name, weight in result.weights.items())
    context.reporter.message(f"On validation, out of fold: {measured}; weights: {weights}")
    facts = result.combination
    if facts["order"] == "retrieval":
        gain = ""
        if "gain" in facts:
            gain = (
                f" (metric {facts['gain']:+.4f}, loss lower by {facts['loss_gain']:.4f} at a "
                f"standard error of {facts['loss_gain_standard_error']:.4f})"
            )
        context.reporter.message(f"The order of retrieval is kept: {facts['reason']}{gain}")
