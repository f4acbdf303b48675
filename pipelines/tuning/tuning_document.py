"""`tuning.json`: every trial of a search and what came of it. The search continues from this file.

The file is replaced in one step after each trial. A trial that was killed is not in it, and is
therefore run again, with the same settings.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pipelines.tuning.rows import Part
from tfrs_twotower.artifacts import replace_file
from tfrs_twotower.config import as_override
from tfrs_twotower.documents import Document
from tfrs_twotower.errors import CorruptArtifact, WorkdirError

NAME = "tuning.json"
LEAST = 1e-6
"""What a metric of 0 is taken for in a relative change: any hit is a gain then."""
State = Literal["complete", "pruned", "failed", "refused", "repeated"]


class Trial(Document):
    """One tried combination of settings."""

    part: Part
    """`retrieval`: the towers were trained. `pre_ranking`: the second stage, behind the towers of
    an earlier trial."""
    number: int
    """Position in its part, from 0."""
    behind: int | None = None
    """Number of the retrieval trial whose towers a second stage stands behind."""
    why: str
    """Where the settings come from: the config as it is, a known good start, or the search."""
    places: dict[str, int]
    """Position of the chosen value in each row of the table, by key."""
    changes: dict[str, Any]
    """Keys that differ from the run config, with their values."""
    state: State
    """`pruned`: ended early, behind the others. `failed`: training ended with an error. `refused`:
    the settings do not go together, nothing was trained. `repeated`: has the settings of an earlier
    trial, and its figures."""
    gain: float | None = None
    """Mean relative change of the metrics against the config as it is; null without figures."""
    metrics: dict[str, float] = {}
    """On the validation queries of the search."""
    in_training: dict[str, float] = {}
    """The same as training measures them: without `model.wide`."""
    evaluations: tuple[float, ...] = ()
    """The gain at each evaluation during the training, over what training measures of the config as
    it is."""
    seconds: float = 0.0
    """Duration."""
    message: str = ""
    """The error of a trial that has no figures."""

    @property
    def trained(self) -> bool:
        """Whether it counts as one of `--trials`."""
        return self.state in ("complete", "pruned", "failed")

    @property
    def title(self) -> str:
        """Such as `retrieval 3`."""
        if self.behind is None:
            return f"retrieval {self.number}"
        return f"second stage {self.number} behind {self.behind}"

    def again(self, number: int, why: str, places: dict[str, int]) -> "Trial":
        """A later trial with the same settings: it has these figures."""
        return self.model_copy(
            update={
                "number": number,
                "why": why,
                "places": places,
                "state": "repeated",
                "message": f"as {self.title}",
                "seconds": 0.0,
            }
        )

    @property
    def settings(self) -> str:
        """What it changes, as for `--set`."""
        changed = ", ".join(as_override(key, value) for key, value in self.changes.items())
        return changed or "as it is"

    @property
    def result(self) -> str:
        """Its gain and metrics, or why it has none."""
        if self.state == "pruned":
            return f"ended early, {max(self.evaluations, default=0.0):+.2%} at best"
        if self.gain is None:
            return self.message or self.state
        figures = [f"{name} {value:.4f}" for name, value in self.metrics.items()]
        return ", ".join([f"{self.gain:+.2%}", *figures])


class HeldOut(Document):
    """One metric on the held-out validation queries, which the search has not seen."""

    metric: str
    unchanged: float
    """Of the config as it is."""
    tuned: float
    """Of the best trial."""
    p: float
    """Of the paired randomisation test over queries, adjusted by Holm over the metrics."""


class Changed(Document):
    """One key that the tuned run config changes."""

    key: str
    old: Any
    new: Any
    reason: str
    figure: str
    """The best gain of trials with the new value, and that of trials with the old one."""


class Outcome(Document):
    """What the search found."""

    config: str
    """The run config that was written."""
    changed: tuple[Changed, ...]
    """Empty if the config stays as it is."""
    reason: str
    """Why it was changed, or why not."""
    gain: float
    """Of the best trial on the queries of the search; the luckiest of many, so too high."""
    held_out_gain: float | None
    """Of the best trial on the held-out queries; null if no trial was ahead."""
    held_out_p: float | None
    """Of the paired randomisation test of that gain over queries."""
    held_out: tuple[HeldOut, ...]
    importance: dict[str, float]
    """Share of each key in what tells good trials from the others (PED-ANOVA), largest first."""


class TuningDocument(Document):
    """A search: what it depends on, its trials, and its outcome once there is one."""

    search: str
    """Fingerprint of everything that the trials depend on."""
    run: str
    metrics: tuple[str, ...]
    seed: int
    search_queries: int
    """Validation queries that the search measures on."""
    held_out_queries: int
    """Validation queries that only the estimate is measured on."""
    estimate_seconds: float = 0.0
    """What measuring on the held-out queries took; so much of the minutes is left for the end."""
    trials: tuple[Trial, ...] = ()
    outcome: Outcome | None = None


def relative_gain(metrics: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """Mean relative change of the metrics: 0.02 is two per cent better.

    Args:
        metrics: of a trial.
        reference: of the config as it is, with the same names.
    """
    changes = [metrics[name] / max(value, LEAST) - 1.0 for name, value in reference.items()]
    return sum(changes) / len(changes)


def chance(p: float) -> str:
    """A p-value in words."""
    return "p < .001" if p < 0.001 else f"p = {p:.3f}"


def best_first(trials: Iterable[Trial]) -> list[Trial]:
    """The complete trials, the largest gain first, earlier ones first among equals."""
    complete = [one for one in trials if one.state == "complete" and one.gain is not None]
    return sorted(complete, key=lambda one: -(one.gain or 0.0))


def read_tuning(directory: Path, started: TuningDocument) -> TuningDocument:
    """Reads the search of a directory, or starts one.

    Args:
        directory: where `tuning.json` is.
        started: the search without trials.

    Raises:
        CorruptArtifact: the file cannot be read.
        WorkdirError: it is that of another search.
    """
    path = directory / NAME
    way_out = f"Remove {directory} to search anew, or name another --workdir."
    if not path.exists():
        return started
    try:
        found = TuningDocument.model_validate_json(path.read_bytes())
    except ValidationError as cause:
        first = cause.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the document"
        raise CorruptArtifact(f"{path}: {key}: {first['msg']}. {way_out}") from cause
    if found.search != started.search:
        raise WorkdirError(
            f"{path}: is a search with other tables, settings, metrics, seed or choices than this "
            f"command's ({found.run}, {', '.join(found.metrics)}, seed {found.seed}); trials of "
            f"both cannot be compared. {way_out}"
        )
    return found


def write_tuning(directory: Path, document: TuningDocument) -> None:
    """Replaces the file."""
    replace_file(directory / NAME, document.model_dump_json(indent=2) + "\n")
