"""Training in rounds, each with negatives that were mined for it (ANCE: Xiong et al., ICLR 2021).

rounds/N/             a model, as a training without rounds writes it, with a manifest
rounds/N/negatives/   what was mined for it, with a manifest: by the towers of round N - 1, or BM25
rounds/N/result.json  the result of its training, with its duration

A killed training does not repeat a round, or a mining, that has its manifest. Mining depends only
on the files of the round before, and a training goes on from its checkpoint, so that interruptions
change no bit of any of them.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from tfrs_twotower.artifacts import (
    MANIFEST_NAME,
    Lineage,
    Manifest,
    commit,
    fingerprint,
    layout,
    link_or_copy,
    read_manifest,
    replace_file,
    seal,
    staging_directory,
    verify_files,
)
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.config import AnceConfig, DailyConfig, RunConfig, TrainingConfig
from tfrs_twotower.errors import ArtifactError, TrainingError
from tfrs_twotower.mining.round_negatives import mine_round
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.training import reports, workers
from tfrs_twotower.training.mined_negatives import Round
from tfrs_twotower.training.warm_start import WarmStart

_MEASURED = (layout.TRAINING_LOG, layout.ROUND_RESULT)
_OF_ROUNDS = (layout.ROUND_NEGATIVES, MANIFEST_NAME, *_MEASURED)


class TrainTowers(Protocol):
    """Trains both towers once and writes them."""

    def __call__(
        self, *, training: TrainingConfig, output_dir: Path, of_round: Round
    ) -> reports.TrainingResult:
        """Trains by a training section, in a directory, from what a round begins with."""


@dataclass(frozen=True)
class Rounds:
    """The rounds of one training.

    Attributes:
        data: a finished preprocessed artifact.
        spec: the feature spec.
        config: the run config.
        ance: its section of the rounds.
        output_dir: an existing directory; the kept round is written here, and all below `rounds`.
        report: receives a report of every step.
        train_towers: trains one round.
    """

    data: Path
    spec: FeatureSpec
    config: RunConfig
    ance: AnceConfig
    output_dir: Path
    report: reports.Report
    train_towers: TrainTowers

    def train(self) -> reports.TrainingResult:
        """Trains every round that is not finished, and writes the one that is kept.

        Raises:
            TrainingError: training diverged, or cannot start.
            ArtifactError: the preprocessed artifact cannot be read, or does not fit the spec.
        """
        if workers.find_cluster() is not None:
            raise TrainingError(
                f"training.ance mines in one process, but {workers.VARIABLE} names several. Train "
                "in one, with training.replicas for its GPUs, or set training.ance: null."
            )
        results: list[reports.TrainingResult] = []
        before: Manifest | None = None
        for number in range(self.ance.rounds + 1):
            before = self._finish(number, before)
            results.append(_read_result(self._directory(number)))
        kept = best_round([result.validation for result in results], self._metric)
        self._publish(self._directory(kept))
        self._join_logs()
        facts = tuple(self._facts(n, result, kept) for n, result in enumerate(results))
        messages = dict.fromkeys(message for result in results for message in result.messages)
        closing = self._closing_message(results, kept)
        self._say(closing)
        return replace(
            results[kept],
            seconds=sum(result.seconds for result in results),
            messages=(*messages, closing),
            rounds=facts,
        )

    def _finish(self, number: int, before: Manifest | None) -> Manifest:
        """Mines for a round and trains it, unless that is done; returns its manifest."""
        directory = self._directory(number)
        directory.mkdir(parents=True, exist_ok=True)
        mined = self._mine(number, before)
        lineage = self._lineage(before, mined)
        found = _finished(directory, "model", lineage)
        if found is not None and (directory / layout.ROUND_RESULT).exists():
            return found
        (directory / MANIFEST_NAME).unlink(missing_ok=True)
        training = self.config.training
        start = None
        if before is not None:
            length = {"epochs": self.ance.epochs, "max_steps": None}
            training = training.model_copy(update=length)
            start = WarmStart(self._directory(number - 1), DailyConfig(), training.refit)
        result = self.train_towers(
            training=training,
            output_dir=directory,
            of_round=Round(start, None if mined is None else directory / layout.ROUND_NEGATIVES),
        )
        replace_file(directory / layout.ROUND_RESULT, json.dumps(asdict(result)) + "\n")
        return seal(
            directory,
            kind="model",
            **lineage._asdict(),
            counts={"round": number, "steps": result.steps},
            measurements=_MEASURED,
        )

    def _mine(self, number: int, before: Manifest | None) -> Manifest | None:
        """Mines for a round, unless that is done; None for a round 0 without a warm start."""
        if before is None and self.ance.warm_start == "none":
            return None
        directory = self._directory(number) / layout.ROUND_NEGATIVES
        lineage = self._lineage(before, None)
        found = _finished(directory, "negatives", lineage)
        if found is not None:
            return found
        what = f"round {number} of {self.ance.rounds}"
        self._say(f"{what}: mines with " + ("BM25" if before is None else "the towers before it"))
        staging = staging_directory(directory)
        phases = mine_round(
            self.spec,
            self.config,
            self.ance,
            self.data,
            None if before is None else self._directory(number - 1),
            staging,
            lambda _what, _done, _total: None,
        )
        counts: dict[str, int] = {}
        for phase in phases:
            counts[f"{phase.phase}_examples"] = phase.num_examples
            counts[f"{phase.phase}_short_lists"] = phase.num_short
            counts[f"{phase.phase}_false_negatives"] = phase.num_dropped
        fields = lineage._asdict()
        mined = commit(staging, directory, kind="negatives", **fields, counts=counts)
        shown = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items())
        self._say(f"{what}: {shown}")
        return mined

    def _lineage(self, before: Manifest | None, mined: Manifest | None) -> Lineage:
        parents = {"preprocessed": self._preprocessed}
        if before is not None:
            parents["model"] = before.fingerprint
        if mined is not None:
            parents["negatives"] = mined.fingerprint
        return Lineage(fingerprint(self.spec), self._settings, parents)

    @cached_property
    def _preprocessed(self) -> str:
        return read_manifest(self.data, "preprocessed").fingerprint

    @cached_property
    def _settings(self) -> str:
        config = self.config
        return fingerprint(
            {
                "seed": config.seed,
                "model": config.model.model_dump(mode="json"),
                "training": config.training.model_dump(mode="json"),
                "bm25": [config.evaluate.bm25_k1, config.evaluate.bm25_b],
            }
        )

    @property
    def _metric(self) -> str | None:
        stopping = self.config.training.early_stopping
        return None if stopping is None else stopping.metric

    def _directory(self, number: int) -> Path:
        return self.output_dir / layout.ROUNDS / str(number)

    def _say(self, message: str) -> None:
        self.report(reports.message_report(message))

    def _publish(self, directory: Path) -> None:
        """Gives the files of the kept round a second name in the directory of the model."""
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory)
            if path.is_dir() or name.parts[0] in _OF_ROUNDS:
                continue
            destination = self.output_dir / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.unlink(missing_ok=True)
            link_or_copy(path, destination)

    def _join_logs(self) -> None:
        """Writes the logs of all rounds as one, whose steps count on over the rounds."""
        lines: list[str] = []
        done: dict[str, int] = {}
        for number in range(self.ance.rounds + 1):
            log = self._directory(number) / layout.TRAINING_LOG
            text = log.read_text(encoding="utf-8") if log.exists() else ""
            entries = [json.loads(line) for line in text.splitlines()]
            ahead = dict(done)
            for entry in entries:
                entry |= {"step": entry["step"] + ahead.get(entry["phase"], 0), "round": number}
                done[entry["phase"]] = entry["step"]
                lines.append(json.dumps(entry) + "\n")
        replace_file(self.output_dir / layout.TRAINING_LOG, "".join(lines))

    def _facts(self, number: int, result: reports.TrainingResult, kept: int) -> dict[str, Any]:
        negatives = self._directory(number) / layout.ROUND_NEGATIVES
        mined = dict(read_manifest(negatives, "negatives").counts) if negatives.exists() else {}
        return {
            "round": number,
            "kept": number == kept,
            "best_step": result.best_step,
            "steps": result.steps,
            "validation": result.validation,
            "mined": mined,
        }

    def _closing_message(self, results: list[reports.TrainingResult], kept: int) -> str:
        message = f"training.ance: round {kept} of {self.ance.rounds} is kept"
        if self._metric is None or self._metric not in results[kept].validation:
            return message
        values = ", ".join(f"{result.validation[self._metric]:.4f}" for result in results)
        return f"{message}: {self._metric} of the rounds on validation is {values}"


def best_round(validation: list[dict[str, float]], metric: str | None) -> int:
    """The round that is kept: the first of the best ones, or the last where none is measured.

    Args:
        validation: metrics of each round.
        metric: the one that early stopping looks at; None without early stopping.
    """
    values = [of_round.get(metric) for of_round in validation] if metric else []
    measured = [value for value in values if value is not None]
    return values.index(max(measured)) if measured else len(validation) - 1


def _finished(directory: Path, kind: Kind, lineage: Lineage) -> Manifest | None:
    """The manifest of what an earlier run has finished here; None if it is not of this lineage."""
    try:
        manifest = read_manifest(directory, kind)
        verify_files(directory, manifest)
    except ArtifactError:
        return None
    origin = Lineage(manifest.spec_fingerprint, manifest.config_fingerprint, manifest.parents)
    return manifest if origin == lineage else None


def _read_result(directory: Path) -> reports.TrainingResult:
    text = (directory / layout.ROUND_RESULT).read_text(encoding="utf-8")
    saved: Mapping[str, Any] = json.loads(text)
    return reports.TrainingResult(**{**saved, "messages": tuple(saved["messages"]), "rounds": ()})
