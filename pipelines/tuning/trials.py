"""One trial: the stages of a run on the data of the search, in a working directory of its own.

A trial of the towers trains them; a trial of the second stage stands behind the towers of an
earlier one. Trials follow each other in one process, because TensorFlow takes seconds to start.
"""

import errno
import gc
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.progress import Reporter
from pipelines.stages.context import StageContext
from pipelines.stages.sequence import STAGES, Stage, run_stages
from pipelines.tuning.rows import Part
from pipelines.tuning.search import Proposal, Pruned
from pipelines.tuning.tuning_document import Trial, relative_gain
from tfrs_twotower.artifacts import Layout, link_or_copy, read_manifest, replace_file
from tfrs_twotower.config import RunConfig, as_override, load_run_config
from tfrs_twotower.errors import ConfigError, SystemFailure, TwoTowerError
from tfrs_twotower.metrics import parse_metric
from tfrs_twotower.preflight.run import check_run

_TRIALS, _BEGUN = "trials", "begun.txt"
_MOST_ATTEMPTS = 3
_STAGES_OF: Mapping[Part, tuple[str, ...]] = {
    "retrieval": ("train",),
    "pre_ranking": ("mine", "train-pre-ranker"),
}
_RESULT_OF: Mapping[Part, tuple[str, str]] = {
    "retrieval": ("model", ""),
    "pre_ranking": ("pre_ranker", "cascade "),
}
"""The artifact whose manifest has the metrics of a part, and how their names begin there."""


@dataclass(frozen=True)
class Trials:
    """Runs trials, and keeps the directories of those that are still needed.

    Attributes:
        context: of the run as the user gave it; its layout is that of the whole search.
        document: path of the run config.
        overrides: `--set` of the command.
        directory: of the search.
        data: of `write_halves`.
        metrics: what is maximised.
        reporter: receives progress.
    """

    context: StageContext
    document: Path
    overrides: tuple[str, ...]
    directory: Path
    data: Path
    metrics: tuple[str, ...]
    reporter: Reporter

    def config(self, changes: Mapping[str, Any]) -> RunConfig:
        """The run config with some keys changed, as a run would take it.

        Raises:
            ConfigError: the settings do not go together, or do not fit the spec.
        """
        changed = [as_override(key, value) for key, value in changes.items()]
        config = load_run_config(self.document, (*self.overrides, *changed))
        check_run(self.context.spec, config)
        return config

    def run(
        self,
        part: Part,
        number: int,
        proposal: Proposal,
        reference: Trial | None,
        *,
        behind: Trial | None = None,
        judge: Callable[[float], None] | None = None,
        title: str = "",
    ) -> Trial:
        """Runs one trial to its end.

        Args:
            part: of the search.
            number: of the trial.
            proposal: its settings.
            reference: the trial of the config as it is; None if this is that trial.
            behind: the retrieval trial whose towers a second stage stands behind.
            judge: takes the gain at each evaluation and raises `Pruned` to end the training.
            title: of its progress.

        Raises:
            SystemFailure: the disk is full or the like, which is not the fault of the settings.
        """
        evaluations: list[dict[str, float]] = []

        def watch(validation: Mapping[str, float]) -> None:
            evaluations.append({name: validation[name] for name in self.metrics})
            if judge is not None and reference is not None:
                judge(relative_gain(evaluations[-1], reference.in_training))

        record = Trial(
            part=part,
            number=number,
            behind=None if behind is None else behind.number,
            why=proposal.why,
            places=proposal.places,
            changes=proposal.changes,
            state="complete",
        )
        started = time.monotonic()
        towers = behind.changes if behind is not None else {}
        try:
            config = self.config({**towers, **proposal.changes})
        except ConfigError as error:
            return record.model_copy(update={"state": "refused", "message": str(error)})
        root = self.directory_of(part, number, behind)
        found: dict[str, Any] = {}
        try:
            self._count_attempt(root.name)
            self._prepare(root, behind)
            context = self._context(root, config, title)
            if part == "retrieval":  # members of a second stage are measured one by one
                context = replace(context, watch=watch)
            run_stages(context, _stages_of(part, config))
            kind, prefix = _RESULT_OF[part]
            details = read_manifest(root / kind, kind).details
            measured = {name: details["validation"][prefix + name] for name in self.metrics}
            found |= {"in_training": measured, "metrics": _served(details, measured)}
        except Pruned:
            found["state"] = "pruned"
        except TwoTowerError as error:
            full = os.strerror(errno.ENOMEM) in str(error)
            if isinstance(error, SystemFailure) and not full:
                raise
            found |= {"state": "failed", "message": str(error)}
        finally:
            _forget_graphs()
        first = reference or record.model_copy(update=found)
        if first.in_training:
            gains = [relative_gain(one, first.in_training) for one in evaluations]
            found["evaluations"] = tuple(gains)
        if "metrics" in found:
            found["gain"] = relative_gain(found["metrics"], first.metrics)
        (self.directory / _BEGUN).unlink(missing_ok=True)
        seconds = round(time.monotonic() - started, 1)
        return record.model_copy(update={**found, "seconds": seconds})

    def directory_of(self, part: Part, number: int, behind: Trial | None) -> Path:
        """The working directory of a trial."""
        name = f"{part}-{number}" if behind is None else f"{part}-{behind.number}-{number}"
        return self.directory / _TRIALS / name

    def keep_only(self, needed: Sequence[Path]) -> None:
        """Removes the directories of all trials but these."""
        for path in sorted((self.directory / _TRIALS).glob("*")):
            if path not in needed:
                shutil.rmtree(path)

    def held_out(
        self, root: Path, changes: Mapping[str, Any], title: str
    ) -> dict[str, NDArray[np.float64]]:
        """Measures what a trial would serve on the held-out validation queries.

        Args:
            root: working directory of the trial.
            changes: its settings, those of its towers included.
            title: of the progress.

        Returns:
            `[num_queries]` of each metric, in the order of the query ids.
        """
        from tfrs_twotower.evaluation.evaluating import evaluate
        from tfrs_twotower.evaluation.loading_evaluated_data import load_inputs

        config = self.config(changes)
        has_second_stage = (root / "pre_ranker").exists()
        if not has_second_stage:
            config = config.model_copy(update={"pre_ranking": None})
        context = self._context(root, config, title)
        run_stages(context, [one for one in STAGES if one.name == "embed"])
        inputs = load_inputs(Layout(root), context.spec, with_pre_ranker=has_second_stage)
        evaluation = evaluate(inputs, context.config.evaluate, seed=config.seed)
        run = evaluation.runs["cascade" if has_second_stage else "retrieval"]
        _forget_graphs()
        return {name: run.values(name) for name in self.metrics}

    def _context(self, root: Path, config: RunConfig, title: str) -> StageContext:
        return replace(
            self.context,
            layout=Layout(root),
            config=for_trial(config, self.metrics),
            reporter=_TrialReporter(self.reporter, title),
        )

    def _prepare(self, root: Path, behind: Trial | None) -> None:
        """Makes the directory anew, with links to the artifacts that the trial starts from."""
        if root.exists():
            shutil.rmtree(root)
        root.mkdir(parents=True)
        sources = {"preprocessed": self.data}
        if behind is not None:
            sources["model"] = self.directory_of("retrieval", behind.number, None) / "model"
        for kind, source in sources.items():
            shutil.copytree(source, root / kind, copy_function=link_or_copy)

    def _count_attempt(self, name: str) -> None:
        """Refuses a trial that has ended the process several times.

        Raises:
            ConfigError: it has.
        """
        path = self.directory / _BEGUN
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        attempts = lines.count(name) + 1
        if attempts > _MOST_ATTEMPTS:
            raise ConfigError(
                f"the process has ended in this trial {_MOST_ATTEMPTS} times: was the memory full?"
            )
        replace_file(path, f"{name}\n" * attempts)


def for_trial(config: RunConfig, metrics: tuple[str, ...]) -> RunConfig:
    """The run config as a trial takes it: without refit and baselines, with all metrics measured.

    The validation queries of the search would otherwise be learned.
    """
    further = {"further_metrics": metrics}

    def measured(early_stopping: Any) -> Any:
        return early_stopping and early_stopping.model_copy(update=further)

    training = config.training
    changed: dict[str, Any] = {
        "training": training.model_copy(
            update={"refit": False, "early_stopping": measured(training.early_stopping)}
        ),
        "evaluate": config.evaluate.model_copy(
            update={
                "baselines": (),
                "max_queries": None,
                "max_scores": None,
                "num_bootstrap": 100,
                "ks": tuple(sorted({parse_metric(name)[1] for name in metrics})),
            }
        ),
    }
    if (section := config.pre_ranking) is not None:
        stopping = measured(section.early_stopping)
        changed["pre_ranking"] = section.model_copy(update={"early_stopping": stopping})
    return config.model_copy(update=changed)


def _served(details: Mapping[str, Any], measured: Mapping[str, float]) -> dict[str, float]:
    """The metrics of what is served: with `model.wide`, if the towers have that part."""
    found = details.get("wide") or {}
    return {name: found.get(f"{name}_out_of_fold", value) for name, value in measured.items()}


def _stages_of(part: Part, config: RunConfig) -> list[Stage]:
    has_trained_members = config.pre_ranking is not None and bool(config.pre_ranking.models)
    return [
        one
        for one in STAGES
        if one.name in _STAGES_OF[part] and (has_trained_members or not one.trained_members)
    ]


def _forget_graphs() -> None:
    """Frees what TensorFlow keeps of the towers of a trial."""
    from tfrs_twotower.keras_api import keras

    keras.backend.clear_session()
    gc.collect()


class _TrialReporter:
    """Shows the progress of a trial's stages under one title, without their messages."""

    def __init__(self, reporter: Reporter, title: str) -> None:
        self._reporter = reporter
        self._title = title

    def message(self, text: str) -> None:
        """Drops the line: it would be repeated for every trial."""

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Passes the figures on."""
        words = ", ".join(part for part in (description, detail) if part)
        self._reporter.progress(self._title, done, total, words)
