"""Stage `train`: from preprocessed examples to trained towers."""

from pathlib import Path

from pipelines.stages import training_runs
from pipelines.stages.context import StageContext, open_lineage
from pipelines.stages.element_counts import check_counts, compare_examples
from tfrs_twotower import train
from tfrs_twotower.artifacts import Manifest, commit, fingerprint, sha256_file
from tfrs_twotower.artifacts.layout import TRAINING_LOG
from tfrs_twotower.layers.checkpoint import checkpoint_files
from tfrs_twotower.training import reports


def config_fingerprint(context: StageContext) -> str:
    """Hash of the config sections that training reads, and of pretrained weights."""
    config = context.config
    settings = {
        "seed": config.seed,
        "model": config.model.model_dump(mode="json"),
        "training": config.training.model_dump(mode="json"),
    }
    weights = checkpoint_files(context.spec, context.data_root)
    if weights:
        settings["checkpoints"] = [sha256_file(path) for path in weights]
    return fingerprint(settings)


def train_towers(
    context: StageContext, directory: Path, report: reports.Report = reports.ignore_report
) -> reports.TrainingResult:
    """Trains the run's towers and writes them into the directory."""
    return train(
        context.layout.preprocessed,
        spec=context.spec,
        config=context.config,
        output_dir=directory,
        report=report,
        checkpoint_root=context.data_root,
    )


def run(context: StageContext) -> Manifest:
    """Trains both towers; continues a killed run with the same inputs.

    Raises:
        TrainingError: training diverged, or cannot start.
        ArtifactError: the preprocessed artifact is missing, damaged or outdated.
    """
    lineage, parents = open_lineage(context, ["preprocessed"], config_fingerprint(context))
    staging = training_runs.open_training(context, context.layout.model, lineage)
    result = train_towers(context, staging.directory, training_runs.TrainingProgress(context))
    what, preprocessed = "training examples that were learned from", parents["preprocessed"]
    check_counts(
        "train", compare_examples(what, result.num_examples, preprocessed, refit=result.refitted)
    )
    staging.close()
    training_runs.report_result(context, result)
    return commit(
        staging.directory,
        context.layout.model,
        kind="model",
        **lineage._asdict(),
        measurements=(TRAINING_LOG,),
        **training_runs.training_details(result),
    )
