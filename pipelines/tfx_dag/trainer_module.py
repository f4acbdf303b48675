"""The two functions that stock TFX components look for: `preprocessing_fn` and `run_fn`.

With them a stock Trainer trains our model from the Examples that an ExampleGen made of the table of
interactions:

    Trainer(
        run_fn="pipelines.tfx_dag.trainer_module.run_fn",
        examples=example_gen.outputs["examples"],
        custom_config={"run_config": "mine/mine_run.yaml"},
    )

The feature spec says what the columns mean, where the tables of candidates and queries are, and
how events are split; ExampleGen's own split, which knows no time, is not used.
"""

import logging
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from pipelines.shipped_files import find_run_config
from pipelines.stages import sequence
from pipelines.stages.context import StageContext, open_workdir
from pipelines.tfx_dag.executors import LoggedMessages, only_version
from tfrs_twotower import config as run_configs
from tfrs_twotower.artifacts import Layout, read_manifest
from tfrs_twotower.errors import ConfigError, did_you_mean
from tfrs_twotower.preflight.run import check_run
from tfrs_twotower.specs import FeatureSpec, InteractionTable, load_spec

_LOG = logging.getLogger(__name__)
_KEYS = ("run_config", "overrides", "beam_options")


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """For a Transform component: passes everything through.

    Lookups, normalisation and tokenising are layers of the exported graph, so that a row at the
    server and a row in training get the same vector without a transform graph beside the model.
    """
    return dict(inputs)


def run_fn(fn_args: FnArgs) -> None:
    """Runs the stages up to the export, and puts the SavedModel where the Trainer wants it.

    Args:
        fn_args: what the Trainer says. Of it are used: the files of the Examples; `train_steps`, if
            any, rounded up to whole epochs; `model_run_dir` for the artifacts of the stages;
            `serving_model_dir`; and `custom_config` with `run_config` (a path), and perhaps
            `overrides` (such as `["training.epochs=5"]`) and `beam_options`.

    Raises:
        ConfigError: `custom_config` or the run config is wrong.
        TwoTowerError: a stage failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        remote = "://" in fn_args.model_run_dir
        root = Path(scratch) / "run" if remote else Path(fn_args.model_run_dir)
        context = _context_of(fn_args, open_workdir(root), Path(scratch) / "examples")
        sequence.run_stages(context, sequence.select_stages("preprocess", "preprocess"))
        context = _with_steps(context, fn_args.train_steps)
        sequence.run_stages(context, sequence.stages_for("export"))
        io_utils.copy_dir(str(only_version(context.layout.bundle)), fn_args.serving_model_dir)
        if remote:
            io_utils.copy_dir(str(root), fn_args.model_run_dir)


def _context_of(fn_args: FnArgs, root: Path, examples: Path) -> StageContext:
    settings = fn_args.custom_config or {}
    unknown = [f"'{key}'{did_you_mean(key, _KEYS)}" for key in settings if key not in _KEYS]
    if unknown or "run_config" not in settings:
        raise ConfigError(
            f"Trainer.custom_config: found {', '.join(unknown) or 'no run_config'}; allowed are "
            f"{', '.join(_KEYS)}, of which run_config (the path of a run config) is needed."
        )
    path = find_run_config(Path(settings["run_config"]))
    config = run_configs.load_run_config(path, tuple(settings.get("overrides", ())))
    spec = load_spec(run_configs.spec_path(config, path))
    check_run(spec, config)
    if config.export.shards > 1 or len(config.export.bundles) > 1:
        raise ConfigError(
            f"{path}: export has several bundles or shards, but a Trainer makes one SavedModel. "
            "Keep one entry in export.bundles and export.shards: 1."
        )
    _link(_example_files(fn_args), examples)
    return StageContext(
        layout=Layout(root),
        spec=_from_examples(spec, examples),
        config=config,
        data_root=run_configs.data_root(config, path),
        reporter=LoggedMessages(),
        beam_options=tuple(settings.get("beam_options", ())),
        documents={"run config": str(path)},
    )


def _from_examples(spec: FeatureSpec, examples: Path) -> FeatureSpec:
    """The spec with the table of interactions read from Examples; how CSVs are written is gone."""
    written = spec.interactions.model_dump(mode="json")
    how = dict.fromkeys(("delimiter", "quote", "decimal", "encoding", "columns"))
    table = InteractionTable(**{**written, **how, "path": str(examples), "format": "tfrecord"})
    return spec.model_copy(update={"interactions": table})


def _example_files(fn_args: FnArgs) -> Iterator[str]:
    """Files of all splits, each once."""
    found = {}
    for pattern in [*(fn_args.train_files or ()), *(fn_args.eval_files or ())]:
        found.update(dict.fromkeys(sorted(fileio.glob(pattern))))
    return iter(found)


def _link(files: Iterator[str], directory: Path) -> None:
    """Makes a directory of the files, numbered in their order; it may have one name for two."""
    directory.mkdir(parents=True)
    for number, path in enumerate(files):
        name = directory / f"{number:05d}.tfrecord.gz"
        if "://" in path:
            io_utils.copy_file(path, str(name))
        else:
            name.symlink_to(Path(path).resolve())


def _with_steps(context: StageContext, steps: int | None) -> StageContext:
    """The run with as many epochs as hold that many steps; 0 or None leaves the run config's."""
    if not steps:
        return context
    counts: Mapping[str, int] = read_manifest(context.layout.preprocessed, "preprocessed").counts
    training = context.config.training
    epochs = math.ceil(steps * training.batch_size / counts["train_examples"])
    _LOG.info("train_args.num_steps %d: training.epochs is %d", steps, epochs)
    training = training.model_copy(update={"epochs": epochs})
    return replace(context, config=context.config.model_copy(update={"training": training}))
