"""The context of a stage: paths, documents and reporter of a run; and checked parents."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.progress import Reporter
from tfrs_twotower.artifacts import Layout, Manifest, fingerprint, read_manifest, verify_files
from tfrs_twotower.artifacts.manifest import Kind, rerun_hint
from tfrs_twotower.config import RunConfig
from tfrs_twotower.errors import StaleArtifact
from tfrs_twotower.specs import FeatureSpec


@dataclass(frozen=True)
class StageContext:
    """The documents, directories and reporter of one run."""

    layout: Layout
    spec: FeatureSpec
    config: RunConfig
    data_root: Path
    """Directory where the spec's relative paths start."""
    reporter: Reporter
    beam_options: tuple[str, ...] = ()
    """Arguments for Beam's pipeline options; without a runner, Beam's in-memory runner is used."""


def open_parent(context: StageContext, kind: Kind) -> Manifest:
    """Checks that an artifact is finished, unchanged and not outdated, before a stage reads it.

    Raises:
        MissingArtifact: the stage that writes the artifact has not finished.
        CorruptArtifact: a file does not match its checksum.
        StaleArtifact: the artifact was made from another feature spec, or from a parent that has
            been replaced since.
    """
    directory = context.layout.root / kind
    manifest = read_manifest(directory, kind)
    spec_fingerprint = fingerprint(context.spec)
    if manifest.spec_fingerprint != spec_fingerprint:
        raise StaleArtifact(
            f"{directory}: was made from feature spec {manifest.spec_fingerprint}, this run's "
            f"spec '{context.spec.name}' is {spec_fingerprint}. {rerun_hint(kind)}"
        )
    for parent_kind, parent_fingerprint in manifest.parents.items():
        parent = read_manifest(context.layout.root / parent_kind, parent_kind)
        if parent.fingerprint != parent_fingerprint:
            raise StaleArtifact(
                f"{directory}: was made from '{parent_kind}' {parent_fingerprint}, which has been "
                f"replaced by {parent.fingerprint}. {rerun_hint(kind)}"
            )
    verify_files(directory, manifest)
    return manifest
