"""Trains one member of the pre-ranker."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from tfrs_twotower.artifacts.layout import CANDIDATE_HEADS, TRAINING_LOG
from tfrs_twotower.config import MemberConfig, PreRankingConfig
from tfrs_twotower.data import negative_lists
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.tasks import build, objective
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers.storage import save_towers
from tfrs_twotower.training import (
    cascade_validation,
    fitting,
    job,
    reports,
    training_data,
    validation,
)

_RESULT = "result.json"
_INTERACTION = "validation_interaction.npy"


class MemberJob(job.Job):
    """Trains towers with heads on mined lists and the in-batch terms.

    Its directory holds the towers and the heads of every candidate. Until `clear_member` is called
    it also holds the result of the job, so that a run that is killed during a later member does
    not train this one again.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        model_config: MemberConfig,
        pre_ranking: PreRankingConfig,
        data: training_data.TrainingData,
        assets: Assets,
        *,
        pools: cascade_validation.Pools,
        windows: Callable[[bool], training_data.Window],
        negatives_dir: Path,
        **options: Unpack[job.JobOptions],
    ) -> None:
        """Sets up the job.

        `pools` and `negatives_dir` hold the retrieved candidates. `windows` returns the tokens
        that all members share, without or with the validation window: all towers of a spec that
        know the same ids use the same tokens.
        """
        super().__init__(spec, model_config, pre_ranking, data, assets, **options)
        self._pre_ranking = pre_ranking
        self._pools = pools
        self._windows = windows
        self._negatives_dir = negatives_dir

    def finish(self) -> tuple[reports.TrainingResult, NDArray[np.float32]]:
        """Trains the member and writes it, unless an earlier run has done so.

        Returns:
            The result of the training, and the pair scores `[num_queries, pool]` of the first fit.
        """
        result_path = self.output_dir / _RESULT
        if not result_path.exists():
            result = self.run()
            save_towers(self.towers, self.spec, self.model_config, self.assets, self.output_dir)
            heads = validation.in_chunks(
                lambda tokens: self.towers.candidate.encode(tokens).heads, self.corpus_tokens
            )
            np.save(self.output_dir / CANDIDATE_HEADS, heads, allow_pickle=False)
            partial = result_path.with_suffix(".partial")
            partial.write_text(json.dumps(asdict(result)), encoding="utf-8")
            partial.replace(result_path)
        saved = json.loads(result_path.read_text(encoding="utf-8"))
        interaction = np.load(self.output_dir / _INTERACTION, allow_pickle=False)
        return reports.TrainingResult(
            **{**saved, "messages": tuple(saved["messages"])}
        ), interaction

    def read_window(self, with_validation_window: bool) -> training_data.Window:
        """Returns the tokens of a phase, which all members share."""
        return self._windows(with_validation_window)

    def examples(self, phase: negative_lists.Phase) -> fitting.Examples:
        """Returns the examples of the phase with their mined lists."""
        return training_data.read_listed_examples(
            self._negatives_dir,
            phase,
            self.table,
            list_size=self._pre_ranking.list_size,
            seed=self.seed,
        )

    def terms(self, retrieval: RetrievalTask) -> list[objective.Term]:
        """Builds the in-batch terms and the terms over lists."""
        return super().terms(retrieval) + build.build_list_terms(self._pre_ranking)

    def validator(self) -> fitting.Measure | None:
        """Returns a measure of the whole cascade."""
        self._validator = cascade_validation.MemberValidator(self.towers, self._pools, self.metric)
        return self._validator

    def finish_first_fit(self) -> None:
        """Saves the pair scores of the validation pools."""
        scores = self._validator.interaction()
        np.save(self.output_dir / _INTERACTION, scores, allow_pickle=False)


def clear_member(directory: Path) -> None:
    """Removes files that only the run needed; a member without its result is trained again."""
    for name in (_RESULT, _INTERACTION, TRAINING_LOG):
        (directory / name).unlink(missing_ok=True)
