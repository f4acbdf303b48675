"""The manifest that every stage writes beside its data, and the hashes in it."""

import hashlib
import json
import stat
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from tfrs_twotower.errors import CorruptArtifact, MissingArtifact

_CHUNK_BYTES = 1 << 20
_MAX_MANIFEST_BYTES = 1 << 26
MANIFEST_NAME = "manifest.json"
Kind = Literal[
    "preprocessed",
    "model",
    "embeddings",
    "index",
    "negatives",
    "pre_ranker",
    "bundle",
    "report",
]
WRITTEN_BY: dict[str, str] = {
    "preprocessed": "preprocess",
    "model": "train",
    "embeddings": "embed",
    "index": "build-index",
    "negatives": "mine",
    "pre_ranker": "train-pre-ranker",
    "bundle": "export",
    "report": "evaluate",
}
"""The stage, and command, that writes each kind."""
SCHEMA_VERSIONS: dict[str, int] = {"preprocessed": 2}
"""Format of the files of each kind; 1 if it is not named."""
_RECORDED_PACKAGES = (
    "apache-beam",
    "numpy",
    "pandas",
    "pyarrow",
    "scann",
    "tensorflow",
    "tensorflow-recommenders",
    "tensorflow-text",
    "tf-keras",
    "tfrs-twotower",
)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """16 hex digits that identify a pydantic document or a JSON-like value."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_inner_path(name: str) -> bool:
    """Whether a name in a list of files is a plain path below the directory of the list."""
    path = PurePosixPath(name)
    return path.as_posix() == name != "." and not path.is_absolute() and ".." not in path.parts


class Lineage(NamedTuple):
    """What a manifest says about where an artifact came from."""

    spec_fingerprint: str
    """Of the feature spec."""
    config_fingerprint: str
    """Of the config sections that the stage reads."""
    parents: Mapping[str, str]
    """Fingerprint of each artifact it was made from, by kind."""


class FileEntry(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size_bytes: int


class Manifest(BaseModel):
    """What an artifact is, what it was made from, and the checksums of its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    schema_version: int = 1
    spec_fingerprint: str
    """Fingerprint of the feature spec."""
    config_fingerprint: str
    """Fingerprint of the config sections that the stage reads, and of its source files, if any."""
    parents: dict[str, str]
    """Fingerprints of the artifacts that it was made from, by kind."""
    counts: dict[str, int]
    files: dict[str, FileEntry]
    """Files by path relative to the artifact's directory, without the manifest itself."""
    packages: dict[str, str]
    details: dict[str, Any] = {}
    """Further results of the stage (JSON); not part of the fingerprint."""

    @field_validator("files")
    @classmethod
    def _names_stay_inside(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if not is_inner_path(name):
                raise ValueError(f"{name[:100]!r} is not a path inside of the artifact")
        return files

    @property
    def fingerprint(self) -> str:
        """Identifies the content: equal for equal inputs, config and file bytes.

        The fingerprint of a bundle leaves its files out: TensorFlow writes equal models with
        different bytes, and version numbers grow.
        """
        files = {} if self.kind == "bundle" else self.files
        return fingerprint(
            {
                "kind": self.kind,
                "schema_version": self.schema_version,
                "spec": self.spec_fingerprint,
                "config": self.config_fingerprint,
                "parents": self.parents,
                "counts": self.counts,
                "files": {name: entry.sha256 for name, entry in files.items()},
            }
        )


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that shape an artifact."""
    versions = {}
    for name in _RECORDED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def rerun_hint(kind: str) -> str:
    """The sentence that names the command which writes an artifact of this kind again."""
    return f"Run the stage that writes it again: `twotower {WRITTEN_BY.get(kind, 'run')}`."


def read_manifest(directory: Path, kind: str) -> Manifest:
    """Reads the manifest of an artifact.

    Raises:
        MissingArtifact: there is no finished artifact in the directory.
        CorruptArtifact: the manifest cannot be read, or is of another kind.
    """
    path = directory / MANIFEST_NAME
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_MANIFEST_BYTES:
            raise CorruptArtifact(
                f"{path}: is not a regular file of at most {_MAX_MANIFEST_BYTES >> 20} MiB, and is "
                f"not read. {rerun_hint(kind)}"
            )
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingArtifact(
            f"{directory}: there is no finished '{kind}' artifact; run the stage that writes it: "
            f"`twotower {WRITTEN_BY.get(kind, 'run')}`."
        ) from None
    except (OSError, ValueError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. {rerun_hint(kind)}") from cause
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as cause:
        first = cause.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CorruptArtifact(
            f"{path}: is not a manifest of this version: {cause.error_count()} mistakes, such as "
            f"{place}: {first['msg']}. {rerun_hint(kind)}"
        ) from cause
    if manifest.kind != kind:
        raise CorruptArtifact(f"{path}: found a '{manifest.kind}' artifact, expected '{kind}'.")
    expected = SCHEMA_VERSIONS.get(kind, 1)
    if manifest.schema_version != expected:
        raise CorruptArtifact(
            f"{path}: found a '{kind}' artifact of format {manifest.schema_version}, which another "
            f"version of the package wrote; this one reads format {expected}. {rerun_hint(kind)}"
        )
    return manifest
