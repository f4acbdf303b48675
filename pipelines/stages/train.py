"""Stage `train`: from preprocessed examples to trained towers."""

from pathlib import Path

from pipelines.stages import fingerprints, training_runs
from pipelines.stages.context import StageContext, open_lineage
from pipelines.stages.element_counts import check_counts, compare_examples
from tfrs_twotower import train
from tfrs_twotower.artifacts import Lineage, Manifest, commit, read_manifest, verify_files
from tfrs_twotower.artifacts.layout import ROUND_RESULT, TRAINING_LOG
from tfrs_twotower.errors import ArtifactError
from tfrs_twotower.training import reports, warm_start

config_fingerprint = fingerprints.train


def train_towers(
    context: StageContext,
    directory: Path,
    report: reports.Report = reports.ignore_report,
    start: warm_start.WarmStart | None = None,
) -> reports.TrainingResult:
    """Trains the run's towers, from a model before if there is one, and writes them."""
    return train(
        context.layout.preprocessed,
        spec=context.spec,
        config=context.config,
        output_dir=directory,
        report=report,
        checkpoint_root=context.data_root,
        start=start,
    )


def run(context: StageContext) -> Manifest:
    """Trains both towers; continues a killed run with the same inputs.

    Raises:
        TrainingError: training diverged, or cannot start.
        ArtifactError: the preprocessed artifact is missing, damaged or outdated.
    """
    lineage, parents = open_lineage(context, ["preprocessed"], config_fingerprint(context))
    start = _start(context, lineage) if context.since is not None else None
    before = None if start is None else read_manifest(start.directory, "model").fingerprint
    origin = (
        lineage
        if before is None
        else lineage._replace(parents={**lineage.parents, "model": before})
    )
    staging = training_runs.open_training(context, context.layout.model, origin)
    result = train_towers(
        context, staging.directory, training_runs.TrainingProgress(context), start
    )
    what, preprocessed = "training examples that were learned from", parents["preprocessed"]
    check_counts(
        "train", compare_examples(what, result.num_examples, preprocessed, refit=result.refitted)
    )
    staging.close()
    training_runs.report_result(context, result)
    fields = training_runs.training_details(result)
    if start is not None and before is not None:
        fields["details"][training_runs.WENT_ON_FROM] = before
        fields["details"][training_runs.FROZEN] = start.config.freeze_candidate_tower
    return commit(
        staging.directory,
        context.layout.model,
        kind="model",
        **lineage._asdict(),
        measurements=(TRAINING_LOG, ROUND_RESULT),
        **fields,
    )


def _start(context: StageContext, lineage: Lineage) -> warm_start.WarmStart | None:
    """The model that a daily run goes on from; None, and why, where it has to train from the start.

    The checkpoints of an interrupted daily training are of another origin than those of a full one.
    """
    directory = context.layout.model
    try:
        model = read_manifest(directory, "model")
        verify_files(directory, model)
    except ArtifactError as problem:
        reason = str(problem).partition(". Run")[0]
    else:
        same = (model.spec_fingerprint, model.config_fingerprint)
        if same != (lineage.spec_fingerprint, lineage.config_fingerprint):
            reason = "the model before was trained with other settings or features"
        elif not (directory / warm_start.LEARNED).exists():
            reason = "the model before does not say what it has learned"
        elif context.config.training.epochs == 0:
            reason = "training.epochs is 0"
        else:
            refitted = bool(model.details.get("refitted"))
            if context.config.training.ance is not None:
                context.reporter.message("training.ance: a daily run mines nothing")
            return warm_start.WarmStart(directory, context.config.daily, refitted)
    context.reporter.message(f"--since {context.since}: trains from the start: {reason}")
    return None
