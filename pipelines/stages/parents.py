"""Opening the artifacts that a stage reads."""

from pipelines.stages.context import StageContext
from tfrs_twotower.artifacts import Manifest, fingerprint, read_manifest, verify_files
from tfrs_twotower.artifacts.manifest import Kind, write_again
from tfrs_twotower.errors import StaleArtifact


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
