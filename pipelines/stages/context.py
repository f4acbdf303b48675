"""The context of a stage: the documents of the run, its working directory, and its reporter."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.progress import Reporter
from pipelines.stages.run_events import Listener
from tfrs_twotower import artifacts
from tfrs_twotower.artifacts.manifest import Kind, rerun_hint
from tfrs_twotower.config import RunConfig, searches_words
from tfrs_twotower.documents import explain_pattern
from tfrs_twotower.errors import StaleArtifact, WorkdirError
from tfrs_twotower.specs import FeatureSpec

if TYPE_CHECKING:
    from tfrs_twotower.data.postings import Lexical

LOCK_NAME = ".lock"
TIMINGS_NAME = "timings.json"
COUNTERS_NAME = "beam_counters.json"
_SECONDS_BETWEEN_TRIES = 0.5


@dataclass(frozen=True)
class StageContext:
    """The documents, directories and reporter of one run."""

    layout: artifacts.Layout
    spec: FeatureSpec
    config: RunConfig
    data_root: Path
    """Directory where the spec's relative paths start."""
    reporter: Reporter
    beam_options: tuple[str, ...] = ()
    """Arguments for Beam's pipeline options; without a runner, Beam's in-memory runner is used."""
    command: str = ""
    """The command that runs the stages, as a line for a shell; the report shows it."""
    documents: Mapping[str, str] = field(default_factory=dict)
    """Files of the run config and of the feature spec; the report shows them."""
    since: str | None = None
    """First day (UTC, ISO) that a daily run reads; None reads and trains all."""
    listeners: tuple[Listener, ...] = ()
    """Hear of every stage that starts, ends, fails or is left out."""
    watch: Callable[[Mapping[str, float]], None] | None = None
    """Receives the validation metrics of each evaluation in a training. What it raises ends the
    training."""


def open_parent(context: StageContext, kind: Kind) -> artifacts.Manifest:
    """Checks that an artifact is finished, unchanged and not outdated, before a stage reads it.

    Raises:
        MissingArtifact: the stage that writes the artifact has not finished.
        CorruptArtifact: a file does not match its checksum.
        StaleArtifact: the artifact was made from another feature spec, or from a parent that has
            been replaced since.
    """
    directory = context.layout.of(kind)
    manifest = artifacts.read_manifest(directory, kind)
    spec_fingerprint = artifacts.fingerprint(context.spec)
    if manifest.spec_fingerprint != spec_fingerprint:
        raise StaleArtifact(
            f"{directory}: was made from feature spec {manifest.spec_fingerprint}, this run's "
            f"spec '{context.spec.name}' is {spec_fingerprint}. {rerun_hint(kind)}"
        )
    for parent_kind, parent_fingerprint in manifest.parents.items():
        parent = artifacts.read_manifest(context.layout.of(parent_kind), parent_kind)
        if parent.fingerprint != parent_fingerprint:
            raise StaleArtifact(
                f"{directory}: was made from '{parent_kind}' {parent_fingerprint}, which has been "
                f"replaced by {parent.fingerprint}. {rerun_hint(kind)}"
            )
    artifacts.verify_files(directory, manifest)
    return manifest


def open_lineage(
    context: StageContext, kinds: Sequence[Kind], settings: str
) -> tuple[artifacts.Lineage, dict[Kind, artifacts.Manifest]]:
    """Opens the parents of a stage.

    Args:
        context: the run.
        kinds: the artifacts that the stage reads. They belong together: each was made from those
            that the working directory has now.
        settings: the stage's fingerprint of its config.

    Returns:
        The origin of what the stage makes from its parents, and their manifests.

    Raises:
        ArtifactError: see `open_parent`.
    """
    parents = {kind: open_parent(context, kind) for kind in kinds}
    made_from: dict[str, str] = {kind: parent.fingerprint for kind, parent in parents.items()}
    lineage = artifacts.Lineage(artifacts.fingerprint(context.spec), settings, made_from)
    return lineage, parents


def search_of_words(context: StageContext, num_candidates: int) -> "Lexical | None":
    """What the first stage searches words with; None if it searches vectors alone.

    Raises:
        ArtifactError: the index cannot be read, or is of another corpus.
    """
    if not searches_words(context.config):
        return None
    from tfrs_twotower.data.stored_postings import load_lexical

    return load_lexical(context.layout.index, num_candidates, rerun_hint("index"))


def open_workdir(path: Path) -> Path:
    """Creates the directory if it does not exist, and returns its absolute path.

    Raises:
        WorkdirError: the directory cannot be created or written.
    """
    if pattern := explain_pattern(path):
        raise WorkdirError(
            f"{path}: cannot be the working directory: {pattern}, and could not load what a run "
            "saves there. Name a directory without these signs (tables may have them)."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        problem = "is a file" if path.is_file() else f"cannot be made: {cause.strerror}"
        raise WorkdirError(
            f"{path}: the working directory {problem}. Name a directory that you may write in."
        ) from cause
    if not os.access(path, os.W_OK | os.X_OK):
        raise WorkdirError(
            f"{path}: the working directory cannot be written by this user. Name another one, or "
            "change its permissions."
        )
    return path.resolve()


@contextmanager
def only_run_in(root: Path) -> Iterator[None]:
    """Holds the lock of the working directory; the kernel releases it however the process ends.

    Raises:
        WorkdirError: another run holds the lock.
    """
    descriptor = os.open(root / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", errors="replace").strip()
            raise WorkdirError(
                f"{root}: another run is working here (process {holder or 'unknown'}). Wait until "
                "it ends, or name another --workdir."
            ) from None
        except OSError:
            pass  # some network file systems have no locks
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def wait_until_free(root: Path, reporter: Reporter) -> None:
    """Waits until no run holds the working directory.

    A run whose parent process was killed ends by itself.
    """
    reported = False
    while True:
        try:
            with only_run_in(root):
                return
        except WorkdirError as busy:
            if not reported:
                reporter.message(f"{str(busy).partition('. Wait')[0]}; waiting until it ends")
            reported = True
            time.sleep(_SECONDS_BETWEEN_TRIES)


def record_duration(root: Path, stage: str, seconds: float) -> None:
    """Writes the duration of one stage; it replaces an earlier one."""
    _record(root, TIMINGS_NAME, {**read_durations(root), stage: round(seconds, 3)})


def record_counters(root: Path, stage: str, counters: Mapping[str, int]) -> None:
    """Writes the counters of a stage's Beam job; they replace those of an earlier one."""
    _record(root, COUNTERS_NAME, {**read_counters(root), stage: dict(counters)})


def _record(root: Path, name: str, values: Mapping[str, object]) -> None:
    artifacts.replace_file(root / name, json.dumps(values, indent=2) + "\n")


def read_durations(root: Path) -> dict[str, float]:
    """The duration of each stage that has run, in seconds, by the stage's name."""
    return {name: float(seconds) for name, seconds in _recorded(root, TIMINGS_NAME).items()}


def read_counters(root: Path) -> dict[str, dict[str, int]]:
    """The counters of each stage's last Beam job, by the stage's name."""
    return _recorded(root, COUNTERS_NAME)


def _recorded(root: Path, name: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads((root / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return values
