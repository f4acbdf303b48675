"""The search: trial 0 is the config as it is; then the towers, the second stage, and the estimate.

Every choice depends on the records of the earlier trials and on the seed alone, so that a search
that is killed and continued ends with the same run config. Minutes only end it sooner.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipelines.progress import Reporter
from pipelines.stages.context import StageContext, only_run_in
from pipelines.stages.sequence import STAGES, run_stages
from pipelines.tuning import estimate, tuning_document
from pipelines.tuning.rows import Facts, Part
from pipelines.tuning.search import Choices, Proposal, best_of
from pipelines.tuning.space import SETTINGS
from pipelines.tuning.trials import Trials
from pipelines.tuning.tuned_config import write_tuned
from pipelines.tuning.tuning_page import render_tuning
from pipelines.tuning.validation_halves import write_halves
from tfrs_twotower.artifacts import Manifest, fingerprint, replace_file
from tfrs_twotower.errors import ConfigError, TrainingError
from tfrs_twotower.evaluation.report.rendering import Origin

DIRECTORY, PAGE = "tuning", "index.html"
_SHARE_OF_RETRIEVAL = 2 / 3
_MOST_UNTRAINED = 30


@dataclass(frozen=True)
class Plan:
    """What the user asked for."""

    run: Path
    """The run config."""
    overrides: tuple[str, ...]
    metrics: tuple[str, ...]
    seed: int
    out: Path
    """The run config that is written."""
    trials: int | None = None
    """Trials in all; None goes on until the minutes are over."""
    minutes: float | None = None


def tune(context: StageContext, plan: Plan) -> tuning_document.TuningDocument:
    """Searches, or continues a search, and writes the tuned run config.

    Args:
        context: of the run as it is; its working directory gets `preprocessed/` and `tuning/`.
        plan: what the user asked for.

    Raises:
        ConfigError: the run config measures nothing on validation queries.
        DataError: there are too few validation queries.
        TrainingError: the config as it is cannot be trained.
        WorkdirError: the working directory holds another search, or one that is running.
    """
    if context.config.training.early_stopping is None:
        raise ConfigError(
            f"{plan.run}: training.early_stopping is null, so nothing is measured on validation "
            "queries while a trial trains. Give the section (`early_stopping: {}` takes the "
            "defaults): tune chooses by what is measured there."
        )
    started = time.monotonic()
    run_stages(context, [one for one in STAGES if one.name == "preprocess"])
    return search(context, plan, started)


def search(context: StageContext, plan: Plan, started: float) -> tuning_document.TuningDocument:
    """Does the same where the tables are preprocessed.

    Args:
        context: see `tune`.
        plan: see `tune`.
        started: when the minutes began, by `time.monotonic`.
    """
    directory = context.layout.root / DIRECTORY
    directory.mkdir(exist_ok=True)
    with only_run_in(directory):
        halves = write_halves(context.layout.preprocessed, directory / "data")
        return _Search(context, plan, directory, halves, started).run()


@dataclass
class _Search:
    context: StageContext
    plan: Plan
    directory: Path
    halves: Manifest
    started: float
    document: tuning_document.TuningDocument = field(init=False)

    def __post_init__(self) -> None:
        plan, counts = self.plan, self.halves.counts
        depends_on = {
            "spec": self.context.spec.model_dump(mode="json"),
            "config": self.context.config.model_dump(mode="json"),
            "data": self.halves.fingerprint,
            "metrics": plan.metrics,
            "seed": plan.seed,
            "choices": self.choices.identity,
            "records": sorted(tuning_document.Trial.model_fields),
        }
        self.document = tuning_document.read_tuning(
            self.directory,
            tuning_document.TuningDocument(
                search=fingerprint(depends_on),
                run=self.context.config.name,
                metrics=plan.metrics,
                seed=plan.seed,
                search_queries=counts["validation_queries"],
                held_out_queries=counts["test_queries"],
            ),
        )

    def run(self) -> tuning_document.TuningDocument:
        """Runs the trials that are missing and concludes."""
        say = self.reporter.message
        if self.document.trials:
            say(f"Continuing a search of {len(self.document.trials)} trials.")
        say(
            f"{self.document.search_queries:,} validation queries for the search, "
            f"{self.document.held_out_queries:,} held out to judge its result by"
        )
        first = self._first_trial()
        of_towers, of_second_stage = self._shares()
        self._search("retrieval", None, of_towers)
        towers = best_of(self._trials("retrieval")) or first
        if self.choices.may_have_second_stage:
            self._search("pre_ranking", towers, of_second_stage)
        self._conclude(towers)
        return self.document

    def _shares(self) -> tuple[int | None, int | None]:
        """Trials of the towers and of the second stage; None where only minutes end them."""
        in_all = self.plan.trials
        if in_all is None:
            return None, None
        if not self.choices.may_have_second_stage:
            return in_all, 0
        of_towers = max(1, round(in_all * _SHARE_OF_RETRIEVAL))
        least = 1 if self.context.config.pre_ranking is not None else 0
        return of_towers, max(in_all - of_towers, least)

    @property
    def reporter(self) -> Reporter:
        """Receives messages and progress."""
        return self.context.reporter

    @cached_property
    def choices(self) -> Choices:
        """What may be changed."""
        context, plan = self.context, self.plan
        facts = Facts(context.spec, context.config, self.halves.counts)
        return Choices(facts, plan.metrics, plan.seed)

    @cached_property
    def runner(self) -> Trials:
        """Runs the trials."""
        plan = self.plan
        return Trials(
            self.context, plan.run, plan.overrides, self.directory, self.directory / "data",
            plan.metrics, self.reporter,
        )  # fmt: skip

    def _trials(
        self, part: Part, behind: tuning_document.Trial | None = None
    ) -> list[tuning_document.Trial]:
        """The trials of a part, in their order."""
        number = None if behind is None else behind.number
        return [one for one in self.document.trials if one.part == part and one.behind == number]

    def _first_trial(self) -> tuning_document.Trial:
        """The config as it is: its towers, its second stage if it has one, its held-out figures."""
        if not self._trials("retrieval"):
            self._run_next("retrieval", None, self.choices.of("retrieval").as_it_is)
        first = self._trials("retrieval")[0]
        served = first
        if self.context.config.pre_ranking is not None:
            if not self._trials("pre_ranking", first):
                self._run_next("pre_ranking", first, self.choices.of("pre_ranking").as_it_is)
            served = self._trials("pre_ranking", first)[0]
        for one in (first, served):
            if one.state != "complete":
                raise TrainingError(f"{self.plan.run}: the config as it is fails: {one.message}")
        if not self.document.estimate_seconds:
            started = time.monotonic()
            title = "the config as it is, held out"
            estimate.held_out_values(self.runner, first, served, {}, title)
            self._keep(estimate_seconds=time.monotonic() - started)
        return first

    @property
    def reference(self) -> tuning_document.Trial | None:
        """The trial of what the config as it is serves; None before that."""
        trials = self._trials("retrieval")
        if trials and self.context.config.pre_ranking is not None:
            trials = self._trials("pre_ranking", trials[0])
        return trials[0] if trials else None

    def _search(self, part: Part, behind: tuning_document.Trial | None, most: int | None) -> None:
        """Runs trials of a part until there are enough, or the time is over."""
        choices = self.choices.of(part)
        until = None if self.plan.minutes is None else 60.0 * self.plan.minutes
        if until is not None and part == "retrieval" and self.choices.may_have_second_stage:
            # One second stage behind the best towers has to follow, however long it takes.
            needed = self._trials("pre_ranking", self._trials("retrieval")[0])[:1]
            until = min(until * _SHARE_OF_RETRIEVAL, until - sum(one.seconds for one in needed))
        untrained = 0
        while untrained < _MOST_UNTRAINED:
            trials = self._trials(part, behind)
            if most is not None and sum(one.trained for one in trials) >= most:
                return
            if trials and (not choices.rows or not self._has_time(trials, until)):
                return
            proposal = choices.next_proposal(trials)
            same = [one for one in trials if one.changes == proposal.changes and one.trained]
            if same:
                self._record(same[0].again(len(trials), proposal.why, proposal.places))
            else:
                self._run_next(part, behind, proposal)
            last = self._trials(part, behind)[-1]
            untrained = 0 if last.trained else untrained + 1

    def _has_time(self, trials: Sequence[tuning_document.Trial], until: float | None) -> bool:
        """Whether a trial of usual length fits, with the estimate after it."""
        if until is None:
            return True
        usual = statistics.median([one.seconds for one in trials if one.trained] or [0.0])
        return time.monotonic() - self.started + usual + self.document.estimate_seconds <= until

    def _run_next(
        self, part: Part, behind: tuning_document.Trial | None, proposal: Proposal
    ) -> None:
        trials = self._trials(part, behind)
        reference, judge = self.reference, None
        if part == "retrieval" and trials:
            reference = trials[0]
            judge = self.choices.of(part).pruner(trials, proposal.places)
        done = len([one for one in self.document.trials if one.trained])
        of_all = "" if self.plan.trials is None else f" of {self.plan.trials}"
        title = f"trial {done + 1}{of_all}"
        trial = self.runner.run(
            part, len(trials), proposal, reference, behind=behind, judge=judge, title=title
        )
        self._record(trial)

    def _record(self, trial: tuning_document.Trial) -> None:
        self._keep(trials=(*self.document.trials, trial), outcome=None)
        if trial.trained:
            self.reporter.message(
                f"{trial.title} ({trial.why}): {trial.result}, {trial.seconds:.0f} s; "
                f"{trial.settings}"
            )
        self.runner.keep_only(self._needed())

    def _keep(self, **changed: object) -> None:
        self.document = self.document.model_copy(update=changed)
        tuning_document.write_tuning(self.directory, self.document)

    def _needed(self) -> list[Path]:
        """Directories of the first trial and of the best ones."""
        retrieval, needed = self._trials("retrieval"), []
        best = best_of(retrieval)
        for towers, second in (
            (retrieval[0], self._trials("pre_ranking", retrieval[0])[:1]),
            (best, [best_of(self._trials("pre_ranking", best))] if best else []),
        ):
            if towers is not None:
                needed.append(self.runner.directory_of("retrieval", towers.number, None))
                for one in filter(None, second):
                    needed.append(self.runner.directory_of("pre_ranking", one.number, towers))
        return needed

    def _conclude(self, towers: tuning_document.Trial) -> None:
        """Chooses the winner, measures it on the held-out queries, writes what was found."""
        plan, first = self.plan, self._trials("retrieval")[0]
        served = best_of(self._trials("pre_ranking", towers))
        may_do_without = self.context.config.pre_ranking is None
        if may_do_without and (served is None or (served.gain or 0.0) <= (towers.gain or 0.0)):
            served = towers
        if served is None:  # its second stage cannot be trained
            served = towers = first
        self.reporter.progress("the winner on held-out queries", 0, None)
        spaces = {part: self.choices.of(part) for part in SETTINGS}
        outcome = estimate.outcome_of(
            self.runner, self.document, first, towers, served, spaces, str(plan.out)
        )
        heading = estimate.heading(self.document, outcome, towers, plan.run.name)
        write_tuned(plan.out, plan.run, plan.overrides, outcome.changed, heading)
        self._keep(outcome=outcome)
        documents = {**self.context.documents, "tuned run config": str(plan.out)}
        origin = Origin(self.context.command, documents, time.time())
        replace_file(self.directory / PAGE, render_tuning(self.document, origin))
