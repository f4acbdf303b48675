"""Whether an artifact is the one that a stage would write in this run, and if not, why not."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.stages import fingerprints
from pipelines.stages.context import StageContext, read_durations
from tfrs_twotower.artifacts import Manifest, fingerprint, read_manifest, verify_files
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.errors import ArtifactError, CorruptArtifact, MissingArtifact


class Found(NamedTuple):
    """What a directory holds, seen from a run."""

    manifest: Manifest | None
    """None if there is no artifact that can be read."""
    reason: str
    """Why its stage has to run, in words; "" if it need not."""
    is_damage: bool = False
    """Whether files of an artifact that fits were changed or removed."""


def check(context: StageContext, kind: Kind, directory: Path | None = None) -> Found:
    """Compares an artifact with what this run would write.

    Args:
        context: the run.
        kind: of the artifact.
        directory: where it lies; by default its place in the working directory.
    """
    place = directory or context.layout.of(kind)
    try:
        manifest = read_manifest(place, kind)
    except MissingArtifact:
        return Found(None, "there is none yet")
    except ArtifactError as cause:
        return Found(None, f"it cannot be read: {cause}")
    if manifest.spec_fingerprint != fingerprint(context.spec):
        return Found(manifest, "the feature spec changed")
    for parent, made_from in manifest.parents.items():
        try:
            present = read_manifest(context.layout.of(parent), parent).fingerprint
        except ArtifactError:
            return Found(manifest, f"{parent}/ is missing or damaged")
        if present != made_from:
            return Found(manifest, f"{parent}/ was made again")
    settings = fingerprints.OF[kind](context)
    if manifest.config_fingerprint != settings and not _is_of_day(context, manifest, settings):
        tables = " or the tables" if kind == "preprocessed" else ""
        return Found(manifest, f"the settings{tables} changed")
    try:
        verify_files(place, manifest, contents=False)
    except CorruptArtifact as damage:
        return Found(manifest, str(damage).partition(". Run the stage")[0], is_damage=True)
    return Found(manifest, "")


def _is_of_day(context: StageContext, manifest: Manifest, settings: str) -> bool:
    """Whether a daily run with these tables has left out only what this one would leave out."""
    of_day = manifest.details.get("daily", {})
    if context.since is None or of_day.get("settings") != settings:
        return False
    return str(of_day["since"]) <= context.since


class PlannedStage(NamedTuple):
    """What a run would do with a stage."""

    stage: str
    reason: str
    """Why it would run; "" if it would be skipped."""
    size_bytes: int
    """Of the artifact that is there now."""
    seconds: float | None
    """How long the stage took when it last ran here; None if it never did."""
    counts: dict[str, int]
    """Of the artifact that is there now."""


def plan(context: StageContext, stages: Sequence[tuple[str, Kind]]) -> list[PlannedStage]:
    """What a run would do, without doing it: nothing is loaded, made or locked.

    A stage after one that runs is expected to run: only then is known whether its inputs changed.

    Args:
        context: the run.
        stages: name and kind of each, in order.

    Raises:
        DataError: a table's file cannot be found.
    """
    durations = read_durations(context.layout.root)
    planned: list[PlannedStage] = []
    runs: dict[Kind, str] = {}
    for name, kind in stages:
        found = check(context, kind)
        manifest, reason = found.manifest, found.reason
        parents = [] if manifest is None else [k for k in runs if k in manifest.parents]
        if not reason and parents:
            reason = f"{runs[parents[0]]} runs before it"
        if reason:
            runs[kind] = name
        size = 0 if manifest is None else sum(one.size_bytes for one in manifest.files.values())
        counts = {} if manifest is None else manifest.counts
        planned.append(PlannedStage(name, reason, size, durations.get(name), counts))
    return planned


def table_sizes(context: StageContext) -> dict[str, tuple[int, int | None]]:
    """Number of files and bytes of each table; the bytes of remote files are not asked for."""
    return {
        name: (
            len(paths),
            None if any("://" in path for path in paths) else sum(map(os.path.getsize, paths)),
        )
        for name, paths in fingerprints.table_files(context).items()
    }
