"""Stage `train`: from preprocessed examples to trained towers."""

from pipelines.stages import fingerprints, training_runs
from pipelines.stages.context import StageContext, open_lineage
from pipelines.stages.element_counts import check_counts, compare_examples
from tfrs_twotower import train
from tfrs_twotower.artifacts import Manifest, commit
from tfrs_twotower.artifacts.layout import TRAINING_LOG

config_fingerprint = fingerprints.train


def run(context: StageContext) -> Manifest:
    """Trains both towers; continues a killed run with the same inputs.

    Raises:
        TrainingError: training diverged, or cannot start.
        ArtifactError: the preprocessed artifact is missing, damaged or outdated.
    """
    lineage, parents = open_lineage(context, ["preprocessed"], config_fingerprint(context))
    staging = training_runs.open_training(context, context.layout.model, lineage)
    result = train(
        context.layout.preprocessed,
        spec=context.spec,
        config=context.config,
        output_dir=staging.directory,
        report=training_runs.TrainingProgress(context),
        checkpoint_root=context.data_root,
    )
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
