"""The training of the retrieval model: what comes before the first example and after the last."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.artifacts.layout import FIRST_FIT_WEIGHTS
from tfrs_twotower.config import RunConfig, TrainingConfig, WideConfig
from tfrs_twotower.data import first_fit, query_set
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.data.negative_lists import Phase, load_round_negatives
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers import storage, tower, wide
from tfrs_twotower.training import (
    mined_negatives,
    replicas,
    reports,
    training_data,
    warm_start,
    workers,
)
from tfrs_twotower.training.fitting import Examples, Fitting, Measure
from tfrs_twotower.training.job import CHECKPOINTS, Job, most_validation_queries
from tfrs_twotower.training.plan import Plan, fit_batch_size, plan_fit
from tfrs_twotower.training.pseudo_questions import make_examples
from tfrs_twotower.training.query_map import fit_query_map
from tfrs_twotower.training.validation import Validator

if TYPE_CHECKING:  # with `model.wide` only: its closed forms take a second to import
    from tfrs_twotower.training import wide_tables, wide_weights


class RetrievalJob(Job):
    """Trains the retrieval model, and keeps the weights and the recall of the first fit."""

    config: TrainingConfig
    _validator: Measure | None = None
    _weights: "wide_weights.WideWeights | None" = None
    _tables: "wide_tables.WideTables | None" = None
    _refits = False
    _chosen: NDArray[np.int64] | None = None
    wide_facts: dict[str, Any] | None = None
    """What `model.wide` came to, for the manifest; None without it."""

    def __init__(
        self,
        *arguments: Any,
        start: warm_start.WarmStart | None = None,
        of_round: mined_negatives.Round | None = None,
        **options: Any,
    ) -> None:
        """Sets up the job; with `start` it is a daily training, with `of_round` one round."""
        self._start = start
        self._round = of_round or mined_negatives.Round(None, None)
        super().__init__(*arguments, **options)

    def begin(self, *, with_validation_window: bool) -> None:
        """Builds the towers of a phase; a daily training learns a part of the window."""
        super().begin(with_validation_window=with_validation_window)
        self._refits = with_validation_window
        if self._start is None:
            return
        positions, num_new = self._start.choose(
            self._keys(), refit=self._refits, least=2 * self.config.batch_size, seed=self.seed
        )
        self._chosen, self.num_learned = positions, len(positions)
        if self._start.config.freeze_candidate_tower:  # tables of histories included
            self.frozen = self.towers.candidate.variables
        self.say(
            f"goes on from the model before: {num_new:,} of {len(self.table):,} examples are new, "
            f"and {len(positions) - num_new:,} are learned again"
            + (" (refit)" if self._refits else "")
        )

    def examples(self, phase: Phase) -> Examples:
        """Returns what a phase is trained on."""
        examples = super().examples(phase)
        ance, directory = self.config.ance, self._round.negatives
        if ance is not None and directory is not None:
            lists = load_round_negatives(directory, phase, len(self.table))
            examples = mined_negatives.MinedExamples(
                examples, self.table.candidate_rows, lists, ance.negatives, self.seed
            )
        return examples if self._chosen is None else warm_start.Part(examples, self._chosen)

    def _keys(self) -> NDArray[np.uint64]:
        return warm_start.example_keys(self.table, self.data.corpus.ids)

    def run(self) -> reports.TrainingResult:
        """Trains to the end; without epochs, the towers stay as they start, and are measured."""
        if self.config.epochs != 0:
            return super().run()
        log_position = self._begin(with_validation_window=False)
        validator = self.validator()
        measured = validator.measure() if validator else {}
        self.refresh_derived_state()
        self.finish_first_fit()
        if self.refit:
            self._begin(log_position, with_validation_window=True)
            self.refresh_derived_state()
        shutil.rmtree(self.output_dir / CHECKPOINTS, ignore_errors=True)
        self.say(
            "nothing is trained on examples (training.epochs is 0): the towers rank as they start"
        )
        return reports.TrainingResult(
            best_step=0,
            best_epoch=0.0,
            steps=0,
            refitted=self.refit,
            validation=measured,
            num_examples=len(self.table),
            batch_size=self.config.batch_size,
            temperature=self.config.softmax.temperature,
            seconds=0.0,
            examples_per_s=0.0,
            messages=tuple(self.messages),
        )

    def _begin(self, log_position: int = 0, *, with_validation_window: bool) -> int:
        self.begin(with_validation_window=with_validation_window)
        return self.start(log_position)

    def start(self, log_position: int = 0) -> int:
        """Trains on pseudo-questions, if the config asks for them, and then sets the query map.

        A daily training takes the weights of the model before instead, and a round those of the
        round before.
        """
        before = self._start or self._round.before
        if before is not None:
            before.assign(self.towers, self.assets, refit=self._refits)
            return log_position
        super().start()
        log_position = max(log_position, self._warm_up(log_position))
        if self.model_config.query_map == "ridge":
            self.say(
                fit_query_map(
                    self.towers,
                    self.table,
                    self.corpus_tokens,
                    metric=self.metric,
                    seed=self.seed,
                )
            )
        return log_position

    def _warm_up(self, log_position: int) -> int:
        """Trains on pseudo-questions.

        A refit takes the weights that this gave the first fit, unless it knows more ids.
        """
        section = self.config.pseudo_questions
        if section is None:
            return 0
        table = make_examples(self.towers, self.data.corpus.raw, section, seed=self.seed)
        config = self.config.model_copy(update={"epochs": section.epochs, "max_steps": None})
        batch_size, _ = fit_batch_size(len(table), config)
        plan = replace(plan_fit(len(table), batch_size, config), phase="warm_up")
        self.say(f"warm-up on {len(table):,} pseudo-questions, {plan.last_step:,} steps")
        return self.fitting(plan, config, table, table, log_position).run().log_position

    def fitting(self, plan: Plan, *arguments: Any, **options: Any) -> Fitting:
        """Builds a training; mined lists are as old as its steps, but those of BM25 never age."""
        fitting = super().fitting(plan, *arguments, **options)
        if self._round.before is not None and self._round.negatives is not None:
            fitting.mined_at = 0
        return fitting

    def validation_queries(self) -> query_set.QuerySet | None:
        """As in every job, but a daily training reads fewer: it needs a figure, and no choice."""
        if self._start is None or self.model_config.wide is not None:
            return super().validation_queries()
        most = min(most_validation_queries(self.config), warm_start.MOST_MEASURED)
        return self.data.validation_queries(self.towers.query, most, seed=self.seed)

    def validator(self) -> Measure | None:
        """Returns the measure of the first fit; None without validation queries."""
        self._validator = super().validator()
        return self._validator

    def finish_first_fit(self) -> None:
        """Fits the wide part, and writes what the first fit is and is worth if a second follows.

        The second learns the validation queries, which then can measure and fit nothing more.
        """
        validator, self._validator = self._validator, None
        if self.refit:
            warm_start.write_keys(self._keys(), self.output_dir / warm_start.FIRST_FIT_LEARNED)
        if self.model_config.wide is not None:
            self._fit_wide_part(self.model_config.wide)
        if self.refit and isinstance(validator, Validator):
            if self._weights is not None:
                recall = first_fit.FirstFitRecall(self._weights.num_queries, self._weights.recall)
            else:
                found = tuple(validator.recall_by_length(first_fit.LONGEST))
                recall = first_fit.FirstFitRecall(validator.num_queries, found)
            recall.write(self.output_dir)
            storage.write_weights(
                self._with_wide_part(self._tables).named_variables(),
                self.output_dir / FIRST_FIT_WEIGHTS,
            )

    def finished_towers(self) -> tower.Towers:
        """The trained towers, with the wide part of the window that they have learned."""
        warm_start.write_keys(self._keys(), self.output_dir / warm_start.LEARNED)
        config = self.model_config.wide
        if self._weights is not None and self.refit and config is not None:
            return self._with_wide_part(self._fit_tables(config, refit=True))
        return self._with_wide_part(self._tables)

    def _fit_tables(self, config: WideConfig, *, refit: bool) -> "wide_tables.WideTables":
        from tfrs_twotower.training import wide_tables

        all_pairs = partial(self.data.all_pairs, with_validation_window=refit)
        return wide_tables.fit_tables(
            self.spec, config, self.assets, self.data.corpus, self.table, all_pairs, seed=self.seed
        )

    def _fit_wide_part(self, config: WideConfig) -> None:
        from tfrs_twotower.training import wide_weights

        queries = self.validation_queries()
        if queries is None:
            raise TrainingError(
                "model.wide fits its weights on validation queries, and the split has none. Widen "
                "the validation window, or leave model.wide out."
            )
        self._tables = self._fit_tables(config, refit=False)
        self._weights = wide_weights.fit_weights(
            self.towers,
            self._tables,
            self.spec,
            queries.sample(wide_weights.MOST_QUERIES, seed=self.seed),
            self.corpus_tokens,
            self.metric,
            self.config.further_metrics,
            first_fit.LONGEST,
        )
        self.wide_facts, message = wide_weights.describe(
            self._weights, self._tables, self.model_config.vector_dim, self.metric
        )
        self.say(message)

    def _with_wide_part(self, tables: "wide_tables.WideTables | None") -> tower.Towers:
        if self._weights is None or tables is None:
            return self.towers
        return wide.WideTowers(self.towers, self._weights.part(tables), self.spec)


def train_towers(
    data: Path,
    *,
    spec: FeatureSpec,
    config: RunConfig,
    training: TrainingConfig,
    output_dir: Path,
    report: reports.Report,
    checkpoint_root: Path,
    start: warm_start.WarmStart | None = None,
    of_round: mined_negatives.Round | None = None,
) -> reports.TrainingResult:
    """Trains both towers once and writes them; the arguments are those of `train_on_artifact`.

    `training` replaces that section of the run config, and `of_round` is the round that this is.
    """
    replicas.reserve_devices(training.replicas)
    with workers.watched():
        assets = load_assets(data)
        job = RetrievalJob(
            spec,
            config.model,
            training,
            training_data.open_training_data(data, spec, training, assets),
            assets,
            seed=config.seed,
            refit=training.refit,
            output_dir=output_dir,
            report=report,
            checkpoint_root=checkpoint_root,
            start=start,
            of_round=of_round,
        )
        result = job.run()
        storage.save_towers(job.finished_towers(), spec, config.model, job.assets, output_dir)
    return replace(result, wide=job.wide_facts)
