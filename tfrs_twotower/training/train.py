"""Trains retrieval towers from a preprocessed artifact, and writes them to disk."""

from pathlib import Path

from tfrs_twotower.artifacts.layout import FIRST_FIT_WEIGHTS
from tfrs_twotower.config import RunConfig
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.storage import save_towers, write_weights
from tfrs_twotower.training.job import Job
from tfrs_twotower.training.reports import Report, StepReport, TrainingResult
from tfrs_twotower.training.training_data import open_training_data


def ignore_report(report: StepReport) -> None:
    """Ignores a report."""


def train(
    spec: FeatureSpec,
    config: RunConfig,
    preprocessed_dir: Path,
    output_dir: Path,
    report: Report = ignore_report,
    *,
    checkpoint_root: Path = Path(),
) -> TrainingResult:
    """Trains both towers and writes them; resumes a killed run from its last checkpoint.

    The weights depend only on the documents, the data and the seed, not on interruptions. The
    checkpoints are in `output_dir/checkpoints` and are removed at the end. With `training.refit`
    the weights of the first fit are kept beside the final ones: whatever is later fitted on
    validation queries needs towers that have not learned from them.

    Args:
        spec: the feature spec.
        config: the run config; `model`, `training` and `seed` are read.
        preprocessed_dir: a finished preprocessed artifact.
        output_dir: an existing directory; the towers, their assets and the log are written here.
        report: receives a report of every step.
        checkpoint_root: directory to which `checkpoint` paths of the spec are relative.

    Raises:
        TrainingError: training diverged, or cannot start.
        ArtifactError: the preprocessed artifact cannot be read, or does not fit the spec.
    """
    assets = load_assets(preprocessed_dir)
    job = RetrievalJob(
        spec,
        config.model,
        config.training,
        open_training_data(preprocessed_dir, spec, config.training, assets),
        assets,
        seed=config.seed,
        refit=config.training.refit,
        output_dir=output_dir,
        report=report,
        checkpoint_root=checkpoint_root,
    )
    result = job.run()
    save_towers(job.towers, spec, config.model, assets, output_dir)
    return result


class RetrievalJob(Job):
    """Trains the retrieval model, and keeps the weights of the first fit."""

    def finish_first_fit(self) -> None:
        """Writes the weights of the first fit if a second follows."""
        if self.refit:
            write_weights(self.towers.named_variables(), self.output_dir / FIRST_FIT_WEIGHTS)
