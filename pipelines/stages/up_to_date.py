"""Whether an artifact is the one that a stage would write in this run, and if not, why not."""

from pathlib import Path
from typing import NamedTuple

from pipelines.stages import fingerprints
from pipelines.stages.context import StageContext
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
    place = directory or context.layout.root / kind
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
            present = read_manifest(context.layout.root / parent, parent).fingerprint
        except ArtifactError:
            return Found(manifest, f"{parent}/ is missing or damaged")
        if present != made_from:
            return Found(manifest, f"{parent}/ was made again")
    if manifest.config_fingerprint != fingerprints.OF[kind](context):
        tables = " or the tables" if kind == "preprocessed" else ""
        return Found(manifest, f"the settings{tables} changed")
    try:
        verify_files(place, manifest, contents=False)
    except CorruptArtifact as damage:
        return Found(manifest, str(damage).partition(". Run the stage")[0], is_damage=True)
    return Found(manifest, "")
