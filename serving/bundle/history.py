"""The versions of a bundle on disk: what made each, its size, and which one is served.

Nothing here loads TensorFlow, so that `twotower versions` answers at once.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.bundle import integrity, versions
from serving.bundle.server_files import pinned_version
from tfrs_twotower.artifacts import Manifest
from tfrs_twotower.artifacts.manifest import MANIFEST_NAME
from tfrs_twotower.errors import ArtifactError

MADE_BY = "made_by"
"""Key of a manifest's details for what made the version."""
EXPORT, REFRESH = "export", "refresh"
REFRESHED = "refresh"
"""Name among a version's parents for the fingerprint of the refreshes that it holds."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class MadeBy(BaseModel):
    """What made a version."""

    model_config = ConfigDict(frozen=True)

    command: str
    """`export`, `refresh`, `import-embeddings` or `export_bundle`; "" if that is not known."""
    arguments: str = ""
    """What the command was given and a reader wants to know, such as `--candidates new.csv`."""
    at: str = Field(default_factory=_now)
    """When, in UTC (ISO 8601)."""
    original: int | None = None
    """For a refresh: the export whose towers it has, and whose candidates it changed."""


@dataclass(frozen=True)
class VersionRecord:
    """One version."""

    version: int
    made_by: MadeBy
    num_candidates: int | None
    """None if the manifest cannot be read."""
    k: int | None
    size_bytes: int
    served: bool

    def as_json(self) -> dict[str, Any]:
        """The record as `twotower versions --json` prints it."""
        return {
            "version": self.version,
            "made_by": self.made_by.model_dump(mode="json"),
            "candidates": self.num_candidates,
            "k": self.k,
            "size_bytes": self.size_bytes,
            "served": self.served,
        }

    def as_row(self, *, rolled_back: bool) -> tuple[str, ...]:
        """The record as a line of the table, without its bundle."""
        words = f"{self.made_by.command or 'unknown: no manifest'} {self.made_by.arguments}"
        served = "served by rollback" if rolled_back else "served"
        return (
            str(self.version),
            words.strip(),
            self.made_by.at.removesuffix("+00:00").replace("T", " "),
            "" if self.num_candidates is None else f"{self.num_candidates:,}",
            "" if self.k is None else str(self.k),
            f"{self.size_bytes / 1e6:,.1f}",
            served if self.served else "",
        )


@dataclass(frozen=True)
class History:
    """The versions of one bundle, oldest first."""

    bundle: Path
    records: list[VersionRecord]
    rolled_back: bool
    """Whether `models.config` names the served version; otherwise the newest is served."""

    def as_json(self) -> dict[str, Any]:
        """The bundle as `twotower versions --json` prints it."""
        return {
            "bundle": str(self.bundle),
            "rolled_back": self.rolled_back,
            "versions": [record.as_json() for record in self.records],
        }


def read_history(bundle: Path) -> list[History]:
    """The versions of a bundle, or of each of its shards.

    Args:
        bundle: the bundle's directory; for shards see `versions.find_shards`.

    Raises:
        BundleError: there is no bundle, or `models.config` cannot be read or serves a version that
            is not there.
    """
    return [_history_of(path) for path in versions.find_shards(bundle)]


def _history_of(bundle: Path) -> History:
    numbers = versions.existing_versions(bundle)
    served = versions.served_version(bundle)
    records = []
    for number in numbers:
        directory = bundle / str(number)
        manifest = _manifest(directory)
        counts = manifest.counts if manifest is not None else {}
        records.append(
            VersionRecord(
                number,
                _made_by(bundle, number, manifest),
                counts.get("candidates"),
                counts.get("k"),
                sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()),
                number == served,
            )
        )
    return History(bundle, records, pinned_version(bundle) is not None)


def made_by(bundle: Path, version: int) -> MadeBy:
    """What made a version; its command is "" if the manifest cannot be read."""
    return _made_by(bundle, version, _manifest(bundle / str(version)))


def original_of(bundle: Path, version: int) -> int:
    """The export that a version goes back to: its own number, unless a refresh made it."""
    original = made_by(bundle, version).original
    return version if original is None else original


def kept_exports(bundle: Path, version: int) -> set[int]:
    """The exports that retention must not remove when a version was published.

    They are the one that the version goes back to, and the newest one, which differs after a
    refresh of a version that was rolled back to. What was not made by a refresh is an export.
    """
    exports = [
        number
        for number in versions.list_versions(bundle)
        if made_by(bundle, number).command not in (REFRESH, "")
    ]
    return {original_of(bundle, version), *exports[-1:]}


def _manifest(directory: Path) -> Manifest | None:
    try:
        return integrity.listed_manifest(directory)
    except ArtifactError:
        return None


def _made_by(bundle: Path, version: int, manifest: Manifest | None) -> MadeBy:
    if manifest is None:
        return MadeBy(command="", at="")
    try:
        return MadeBy.model_validate(manifest.details[MADE_BY])
    except (KeyError, ValidationError):
        return _inferred(bundle, version, manifest)


def _inferred(bundle: Path, version: int, manifest: Manifest) -> MadeBy:
    """What made a version whose manifest does not say it, as those before this entry was added."""
    written = (bundle / str(version) / MANIFEST_NAME).stat().st_mtime
    at = datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")
    if REFRESHED not in manifest.parents:
        return MadeBy(command=EXPORT, at=at)
    original = None
    for earlier in versions.list_versions(bundle):
        found = _manifest(bundle / str(earlier)) if earlier < version else None
        if found is not None and REFRESHED not in found.parents:
            original = earlier
    return MadeBy(command=REFRESH, at=at, original=original)
