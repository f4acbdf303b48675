"""What a search found: the winner on queries that it has not seen, and what each change brought.

The best of many trials is partly the luckiest. Its gain on the queries of the search is therefore
too high, and only its gain on the held-out queries is an estimate. If the winner is not ahead
there, the run config stays as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.tuning.rows import Part, Setting
from pipelines.tuning.search import Space, best_of
from pipelines.tuning.trials import Trials
from pipelines.tuning.tuning_document import (
    LEAST,
    Changed,
    HeldOut,
    Outcome,
    Trial,
    TuningDocument,
    chance,
)
from tfrs_twotower.data.stored_arrays import load_arrays
from tfrs_twotower.evaluation.resampling import holm, paired_randomisation

_VALUES = "held_out.npz"
_NO_TRIAL = "no trial was ahead of the config as it is on the queries of the search"


@dataclass(frozen=True)
class Comparison:
    """A winner beside the config as it is, paired by held-out query."""

    gain: float
    """Mean relative change of the metrics."""
    p: float
    """Two-sided p of the paired randomisation test of the gain."""
    metrics: tuple[HeldOut, ...]


def compare(
    tuned: Mapping[str, NDArray[np.float64]], unchanged: Mapping[str, NDArray[np.float64]]
) -> Comparison:
    """Compares two systems on the same queries.

    The gain is a mean over queries of (tuned - unchanged) / mean of unchanged, averaged over the
    metrics, so that one paired test says whether it may be chance.

    Args:
        tuned: `[num_queries]` of each metric.
        unchanged: the same of the config as it is.
    """
    names = list(unchanged)
    differences = np.stack([tuned[name] - unchanged[name] for name in names], axis=1)
    means = np.array([unchanged[name].mean() for name in names])
    relative = (differences / np.maximum(means, LEAST)).mean(axis=1)
    adjusted = holm(paired_randomisation(differences))
    return Comparison(
        float(relative.mean()),
        float(paired_randomisation(relative[:, None])[0]),
        tuple(
            HeldOut(
                metric=name,
                unchanged=float(means[place]),
                tuned=float(tuned[name].mean()),
                p=float(adjusted[place]),
            )
            for place, name in enumerate(names)
        ),
    )


def held_out_values(
    runner: Trials, towers: Trial, served: Trial, changes: Mapping[str, Any], title: str
) -> dict[str, NDArray[np.float64]]:
    """The metrics of what a trial serves for each held-out query; measured once, then read.

    Args:
        runner: of the trials.
        towers: the retrieval trial.
        served: the trial of the second stage behind it, or the retrieval trial again.
        changes: the settings of both.
        title: of the progress.
    """
    behind = None if served.part == "retrieval" else towers
    root = runner.directory_of(served.part, served.number, behind)
    path = root / _VALUES
    if path.exists():
        return load_arrays(path)
    values = runner.held_out(root, changes, title)
    partial = path.with_name(f"partial-{_VALUES}")
    np.savez(partial, **values)  # type: ignore[arg-type]
    partial.replace(path)
    return values


def outcome_of(
    runner: Trials,
    document: TuningDocument,
    first: Trial,
    towers: Trial,
    served: Trial,
    spaces: Mapping[Part, Space],
    path: str,
) -> Outcome:
    """Draws the conclusion of a search.

    Args:
        runner: of the trials.
        document: all trials.
        first: the retrieval trial of the config as it is.
        towers: the best retrieval trial.
        served: the best trial of the second stage behind it, or `towers`.
        spaces: the table of each part.
        path: of the run config that will be written.
    """
    importance: dict[str, float] = {}
    for part, one in spaces.items():
        importance |= one.importance([trial for trial in document.trials if trial.part == part])
    changes = {**towers.changes, **served.changes}
    gain = served.gain or 0.0
    if not changes or gain <= 0.0:
        return Outcome(
            config=path, changed=(), reason=_NO_TRIAL, gain=0.0, held_out_gain=None,
            held_out_p=None, held_out=(), importance=importance,
        )  # fmt: skip
    second = [one for one in document.trials if one.part == "pre_ranking" and one.behind == 0]
    had_second_stage = served.part == "pre_ranking" and "pre_ranking" not in changes
    unchanged = held_out_values(
        runner, first, second[0] if had_second_stage else first, {}, "held out"
    )
    tuned = held_out_values(runner, towers, served, changes, "the winner, held out")
    found = compare(tuned, unchanged)
    held_out = f"{document.held_out_queries:,} held-out validation queries"
    if found.gain > 0.0:
        maybe = "" if found.p < 0.05 else ", which may be chance"
        reason = (
            f"on {held_out} it is {found.gain:+.1%} ahead (paired randomisation test, "
            f"{chance(found.p)}{maybe})"
        )
        changed = _changed(document, changes, towers, served, spaces)
    else:
        reason = (
            f"the best trial, {gain:+.1%} on the queries of the search, is not ahead on the "
            f"{held_out} ({found.gain:+.1%}, {chance(found.p)}): it was the luckiest"
        )
        changed = ()
    return Outcome(
        config=path,
        changed=changed,
        reason=reason,
        gain=gain,
        held_out_gain=found.gain,
        held_out_p=found.p,
        held_out=found.metrics,
        importance=importance,
    )


def _changed(
    document: TuningDocument,
    changes: Mapping[str, Any],
    towers: Trial,
    served: Trial,
    spaces: Mapping[Part, Space],
) -> tuple[Changed, ...]:
    rows = {row.key: (part, row) for part, one in spaces.items() for row in one.rows}
    found = []
    for key, value in changes.items():
        if key in rows:
            part, row = rows[key]
            behind = None if part == "retrieval" else towers.number
            trials = [one for one in document.trials if one.part == part and one.behind == behind]
            of_part = towers if part == "retrieval" else served
            old, reason = row.unchanged, row.reason
            figure = _figure(trials, row, of_part.places[key])
        else:  # the section that a config without a second stage is offered
            old, reason = None, "a second stage scores again what retrieval finds"
            figure = f"{served.gain:+.1%} with it, {towers.gain:+.1%} without"
        found.append(Changed(key=key, old=old, new=value, reason=reason, figure=figure))
    return tuple(found)


def _figure(trials: list[Trial], row: Setting, place: int) -> str:
    """The best gain with a value, and the best with the value of the config as it is."""
    groups = {
        words: [one for one in trials if one.places[row.key] == where and one.state == "complete"]
        for words, where in (("with it", place), ("without", row.initial))
    }
    parts = []
    for words, group in groups.items():
        best = best_of(group)
        if best is not None and best.gain is not None:
            parts.append(f"{words} {best.gain:+.1%} ({len(group)})")
    return "best of the trials " + ", ".join(parts)


def heading(document: TuningDocument, outcome: Outcome, towers: Trial, name: str) -> list[str]:
    """The paragraphs at the top of the tuned run config."""
    counted = (None, towers.number)  # second stages behind other towers were not chosen from
    trained = sum(one.trained and one.behind in counted for one in document.trials)
    lines = [
        f"`twotower tune` wrote this after {trained} trials (seed {document.seed}) that began with "
        f"{name}: the mean relative change of {' and '.join(document.metrics)} on validation "
        "queries, half of them held out of the search. Test queries were not read. Comments of the "
        "original are kept; its figures are not those of these settings."
    ]
    verdict = "Changed" if outcome.changed else "Nothing is changed"
    lines.append(f"{verdict}: {outcome.reason}.")
    if outcome.held_out:
        figures = ", ".join(
            f"{one.metric} {one.unchanged:.4f} -> {one.tuned:.4f} ({chance(one.p)})"
            for one in outcome.held_out
        )
        lines.append(f"Held out, as it was and at its best trial: {figures}.")
    return lines
