"""Writing an artifact so that a killed run leaves nothing that looks finished.

A stage writes into a sibling directory with a temporary name; the manifest is written last, and the
directory is then renamed into place. The artifact of an earlier run stays until then.
"""

import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypedDict

from typing_extensions import NotRequired, Unpack

from tfrs_twotower.artifacts.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSIONS,
    FileEntry,
    Kind,
    Manifest,
    package_versions,
    rerun_hint,
    sha256_file,
)
from tfrs_twotower.errors import CorruptArtifact


def staging_directory(destination: Path, *, keep: bool = False) -> Path:
    """Makes an empty directory beside the destination to write into.

    Args:
        destination: where the artifact will lie.
        keep: whether to keep the files of an earlier, killed run (checkpoints to resume from).
    """
    staging = destination.with_name(f".{destination.name}.partial")
    if staging.exists() and not keep:
        shutil.rmtree(staging)
    staging.mkdir(parents=True, exist_ok=True)
    return staging


class ManifestFields(TypedDict):
    """What a stage says of the artifact that it finishes."""

    kind: Kind
    spec_fingerprint: str
    """Of the feature spec."""
    config_fingerprint: str
    """Of the config sections that the stage reads."""
    parents: Mapping[str, str]
    """Fingerprints of the artifacts that it was made from, by kind."""
    counts: Mapping[str, int]
    """How many things of each kind it holds, by name."""
    details: NotRequired[Mapping[str, Any]]
    """Further results of the stage; not part of the fingerprint."""
    measurements: NotRequired[Collection[str]]
    """Names of files that hold durations. Those differ between equal runs, so the manifest does not
    list them: equal runs have equal fingerprints."""


def commit(staging: Path, destination: Path, **fields: Unpack[ManifestFields]) -> Manifest:
    """Finishes the staging directory with a manifest, and renames it to its destination.

    Args:
        staging: directory with the artifact's files.
        destination: where the artifact will lie; an earlier artifact there is replaced.
        fields: of the manifest.

    Returns:
        The manifest that was written.
    """
    manifest = seal(staging, **fields)
    replace_directory(staging, destination)
    return manifest


def seal(staging: Path, **fields: Unpack[ManifestFields]) -> Manifest:
    """Writes the manifest of the files in the staging directory, which finishes the artifact.

    Args:
        staging: directory with the artifact's files.
        fields: of the manifest.

    Returns:
        The manifest that was written.
    """
    measurements = fields.get("measurements", ())
    manifest = Manifest(
        kind=fields["kind"],
        schema_version=SCHEMA_VERSIONS.get(fields["kind"], 1),
        spec_fingerprint=fields["spec_fingerprint"],
        config_fingerprint=fields["config_fingerprint"],
        parents=dict(fields["parents"]),
        counts=dict(fields["counts"]),
        files={
            path.relative_to(staging).as_posix(): FileEntry(
                sha256=sha256_file(path), size_bytes=path.stat().st_size
            )
            for path in sorted(staging.rglob("*"))
            if path.is_file() and path.name not in measurements and path != staging / MANIFEST_NAME
        },
        packages=package_versions(),
        details=dict(fields.get("details", {})),
    )
    with (staging / MANIFEST_NAME).open("w", encoding="utf-8") as stream:
        stream.write(manifest.model_dump_json(indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return manifest


def replace_directory(staging: Path, destination: Path) -> None:
    """Renames a finished directory to its destination, replacing an earlier one."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    outdated = destination.with_name(f".{destination.name}.outdated")
    if outdated.exists():
        shutil.rmtree(outdated)
    if destination.exists():
        destination.rename(outdated)
    staging.rename(destination)
    if outdated.exists():
        shutil.rmtree(outdated)


def replace_file(path: Path, text: str) -> None:
    """Writes a text file in one step: a reader sees the old text or the new one, never a part."""
    partial = path.with_name(f".{path.name}.writing")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def link_or_copy(source: Path | str, destination: Path | str) -> None:
    """A second name for a file, or a copy where the file system has no hard links.

    Artifacts may share files so, because stages never write into a finished one.
    """
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)


def verify_files(directory: Path, manifest: Manifest, *, contents: bool = True) -> None:
    """Checks every file of an artifact against its checksum.

    Args:
        directory: of the artifact.
        manifest: of the artifact.
        contents: whether to compare checksums; otherwise only sizes are compared, which is quick
            for files of any size.

    Raises:
        CorruptArtifact: a file is missing or was changed.
    """
    hint = rerun_hint(manifest.kind)
    for name, entry in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise CorruptArtifact(f"{path}: is missing. {hint}")
        changed = path.stat().st_size != entry.size_bytes
        if changed or (contents and sha256_file(path) != entry.sha256):
            raise CorruptArtifact(
                f"{path}: does not match its checksum in {MANIFEST_NAME}: it was changed or "
                f"damaged after it was written. {hint}"
            )
