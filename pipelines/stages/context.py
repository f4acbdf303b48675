"""What every stage is given: where things are, what to do, whom to tell, and its parents."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tfrs_twotower.artifacts import Layout, Manifest, fingerprint, read_manifest, verify_files
from tfrs_twotower.artifacts.manifest import Kind, write_again
from tfrs_twotower.config import RunConfig
from tfrs_twotower.errors import StaleArtifact
from tfrs_twotower.specs import FeatureSpec


class Reporter(Protocol):
    """Shows a person, or a log, how far a stage is."""

    def message(self, text: str) -> None:
        """Says one line."""

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Says how much of something is done; `total` is None where it is not known."""


class SilentReporter:
    """Says nothing; for tests and for callers that show their own progress."""

    def message(self, text: str) -> None:
        """Drops the line."""

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Drops the figure."""


@dataclass(frozen=True)
class StageContext:
    """One run: its documents, its directories, its reporter."""

    layout: Layout
    spec: FeatureSpec
    config: RunConfig
    data_root: Path
    """Where the spec's relative table paths start."""
    reporter: Reporter
    beam_options: tuple[str, ...] = ()
    """Arguments for Beam's pipeline options; without a runner among them, Beam's in-memory runner
    is used."""


def open_parent(context: StageContext, kind: Kind) -> Manifest:
    """Checks an artifact of this run before a stage reads it: finished, unchanged, not outdated.

    Raises:
        MissingArtifact: the stage that writes it has not finished.
        CorruptArtifact: a file does not match its checksum.
        StaleArtifact: it was made from another feature spec, or from a parent that has been
            replaced since.
    """
    directory = context.layout.root / kind
    manifest = read_manifest(directory, kind)
    wanted = fingerprint(context.spec)
    if manifest.spec_fingerprint != wanted:
        raise StaleArtifact(
            f"{directory}: was made from feature spec {manifest.spec_fingerprint}, this run's "
            f"spec '{context.spec.name}' is {wanted}. {write_again(kind)}"
        )
    for parent_kind, parent_fingerprint in manifest.parents.items():
        parent = read_manifest(context.layout.root / parent_kind, parent_kind)
        if parent.fingerprint != parent_fingerprint:
            raise StaleArtifact(
                f"{directory}: was made from '{parent_kind}' {parent_fingerprint}, which has been "
                f"replaced by {parent.fingerprint}. {write_again(kind)}"
            )
    verify_files(directory, manifest)
    return manifest
