"""Whether a version is, file for file, what was published: its checksums and their signature.

    SHA256SUMS      a line for every other file, `manifest.json` included, for `sha256sum --check`
    SHA256SUMS.sig  the Ed25519 signature of that file (64 bytes), if the publisher has a key

The manifest lists the same checksums, but nothing in it covers the manifest itself. Checksums alone
detect damage; only a signature detects somebody who changes files and checksums alike. Verification
runs before any other file is read, and loads no TensorFlow.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.bundle.signing_keys import SIGNING_KEY, signing_key, trusted_key
from tfrs_twotower.artifacts import (
    MANIFEST_NAME,
    Manifest,
    read_manifest,
    replace_file,
    sha256_file,
    verify_files,
)
from tfrs_twotower.artifacts.manifest import is_inner_path
from tfrs_twotower.errors import BundleError, CorruptArtifact

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CHECKSUMS_NAME, SIGNATURE_NAME = "SHA256SUMS", "SHA256SUMS.sig"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_MAX_BYTES = 1 << 24
_SIGNATURE_BYTES = 64
_HINT = "Publish it again (`twotower export`), or serve another version (`twotower rollback`)."


@dataclass(frozen=True)
class VerifiedVersion:
    """A version whose files are what its list says."""

    directory: Path
    manifest: Manifest
    num_files: int
    size_bytes: int
    has_checksums: bool
    """Whether it has `SHA256SUMS`; versions of releases before that file have only the manifest."""
    is_signed: bool
    """Whether it has a signature; with a key it was verified."""

    def as_json(self, *, is_verified: bool) -> dict[str, Any]:
        """The version as `twotower verify --json` prints it; `is_verified`: there was a key."""
        signature = ("valid" if is_verified else "not verified") if self.is_signed else "none"
        fields: dict[str, Any] = {
            "directory": str(self.directory),
            "files": self.num_files,
            "size_bytes": self.size_bytes,
            "signature": signature,
        }
        return fields if self.has_checksums else {**fields, "problem": self.line()}

    def line(self, *, is_verified: bool = False) -> str:
        """What was found, in a sentence."""
        size = f"{self.num_files} files, {self.size_bytes / 1e6:,.1f} MB"
        if not self.has_checksums:
            return (
                f"{self.directory}: has no {CHECKSUMS_NAME}: an earlier release of this package "
                f"published it, or somebody removed the list. Its {size} match {MANIFEST_NAME}, "
                "which nothing vouches for. It loads; the next export or refresh writes a list."
            )
        signature = "signed; `--key` verifies by whom" if self.is_signed else "not signed"
        if is_verified:
            signature = "signed with the given key"
        return f"{self.directory}: {size}, all as published; {signature}."


def write_checksums(version_dir: Path) -> None:
    """Writes `SHA256SUMS` over all files of a finished version, and signs it if there is a key.

    Lists of before are replaced.

    Raises:
        BundleError: a file has a name that a line of the list cannot hold.
        ConfigError: `TWOTOWER_SIGNING_KEY` names no Ed25519 key.
    """
    lines = []
    for name in sorted(_regular_files(version_dir).keys() - {CHECKSUMS_NAME, SIGNATURE_NAME}):
        if not name.isprintable() or "\\" in name:
            raise BundleError(
                f"{version_dir}: {name!r} cannot be listed in {CHECKSUMS_NAME}. A file's name "
                "must be printable and without a backslash: rename the asset."
            )
        lines.append(f"{sha256_file(version_dir / name)}  {name}\n")
    replace_file(version_dir / CHECKSUMS_NAME, "".join(lines))
    key, signature = signing_key(), version_dir / SIGNATURE_NAME
    signature.unlink(missing_ok=True)
    if key is not None:
        signature.write_bytes(key.sign((version_dir / CHECKSUMS_NAME).read_bytes()))


def verified_manifest(version_dir: Path) -> Manifest:
    """The manifest of a version, after `verify_version` with the key of the environment."""
    return verify_version(version_dir, trusted_key()).manifest


def listed_manifest(version_dir: Path) -> Manifest:
    """The manifest of a version, after comparing it, and no other file, with its checksum.

    Raises:
        ArtifactError: it is missing, cannot be read, or does not match.
    """
    manifest = read_manifest(version_dir, "bundle")
    path = version_dir / CHECKSUMS_NAME
    if path.is_file():
        listed = _read_checksums(path)
        if listed.get(MANIFEST_NAME) != sha256_file(version_dir / MANIFEST_NAME):
            raise _changed(version_dir / MANIFEST_NAME)
    return manifest


def verify_version(version_dir: Path, key: "Ed25519PublicKey | None" = None) -> VerifiedVersion:
    """Compares a version with its lists: exactly the listed files, with their checksums.

    With a key, the version must be signed with it, and must be the one that its directory's name
    and bundle say, because whoever renames a signed version breaks no signature.

    Args:
        version_dir: directory of the version.
        key: the public key of whoever publishes; None verifies no signature.

    Raises:
        MissingArtifact: there is no version.
        CorruptArtifact: a file is missing, changed or in no list, is a symbolic link or no regular
            file; a list is malformed; or the version is not signed with the key.
    """
    found = _regular_files(version_dir)
    manifest = read_manifest(version_dir, "bundle")
    has_checksums = CHECKSUMS_NAME in found
    is_signed = has_checksums and SIGNATURE_NAME in found
    if key is not None:
        _verify_signature(version_dir, key, is_signed=is_signed)
    checksums = _read_checksums(version_dir / CHECKSUMS_NAME) if has_checksums else {}
    if has_checksums:
        _compare_names(version_dir, CHECKSUMS_NAME, set(checksums), set(found))
        if sha256_file(version_dir / MANIFEST_NAME) != checksums.get(MANIFEST_NAME):
            raise _changed(version_dir / MANIFEST_NAME)
    _compare_names(version_dir, MANIFEST_NAME, {*manifest.files, MANIFEST_NAME}, set(found))
    for name, entry in manifest.files.items():
        if has_checksums and checksums[name] != entry.sha256:
            raise CorruptArtifact(
                f"{version_dir / name}: {CHECKSUMS_NAME} and {MANIFEST_NAME} list different "
                f"checksums. {_HINT}"
            )
    verify_files(version_dir, manifest)
    if key is not None:
        _check_place(version_dir, manifest)
    return VerifiedVersion(
        version_dir, manifest, len(found), sum(found.values()), has_checksums, is_signed
    )


def _regular_files(version_dir: Path) -> dict[str, int]:
    """Sizes in bytes of the files that the lists cover, and of the lists, by path; opens none.

    `SHA256SUMS` and its signature are part of it, so that a caller sees whether they are there.
    """
    if version_dir.is_symlink() and version_dir.resolve().parent != version_dir.parent.resolve():
        raise _not_a_file(version_dir, "is a symbolic link that leads out of its bundle")
    found: dict[str, int] = {}
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        try:
            entries = list(os.scandir(version_dir / inner))
        except FileNotFoundError:
            entries = []
        for entry in entries:
            name = f"{inner}{entry.name}"
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                waiting.append(f"{name}/")
            elif stat.S_ISREG(mode):
                found[name] = entry.stat(follow_symlinks=False).st_size
            elif stat.S_ISLNK(mode):
                raise _not_a_file(version_dir / name, "is a symbolic link")
            else:
                raise _not_a_file(version_dir / name, "is a device, a pipe or a socket")
    return found


def _read_checksums(path: Path) -> dict[str, str]:
    """Checksums by file name."""
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise CorruptArtifact(
            f"{path}: has {size:,} bytes; such a list has at most {_MAX_BYTES:,}. {_HINT}"
        )
    checksums: dict[str, str] = {}
    text = path.read_bytes().decode(errors="replace").removesuffix("\n")
    for number, line in enumerate(text.split("\n"), 1):
        match = _LINE.fullmatch(line)
        problem = ""
        if match is None:
            problem = "is not a SHA-256, two spaces and a name"
        elif not is_inner_path(match[2]):
            problem = "names a path outside of the version"
        elif match[2] in checksums:
            problem = "names a file a second time"
        if match is None or problem:
            raise CorruptArtifact(f"{path}: line {number} {problem}: {line[:100]!r}. {_HINT}")
        checksums[match[2]] = match[1]
    return checksums


def _compare_names(version_dir: Path, list_name: str, listed: set[str], found: set[str]) -> None:
    covered = found - {CHECKSUMS_NAME, SIGNATURE_NAME}
    if unlisted := sorted(covered - listed):
        raise CorruptArtifact(
            f"{version_dir / unlisted[0]}: is not listed in {list_name}"
            f"{_and_more(len(unlisted))}: it was not part of what was published. Remove it; "
            "if a version should have it, publish another."
        )
    if missing := sorted(listed - covered):
        raise CorruptArtifact(
            f"{version_dir / missing[0]}: is missing, but listed in {list_name}"
            f"{_and_more(len(missing))}. {_HINT}"
        )


def _and_more(count: int) -> str:
    return f", and so are {count - 1} others" if count > 1 else ""


def _verify_signature(version_dir: Path, key: "Ed25519PublicKey", *, is_signed: bool) -> None:
    from cryptography.exceptions import InvalidSignature

    if not is_signed:
        raise CorruptArtifact(
            f"{version_dir}: is not signed, and a key was given that must have signed it. Publish "
            f"a version with ${SIGNING_KEY} set, or do without the key."
        )
    signature, path = version_dir / SIGNATURE_NAME, version_dir / CHECKSUMS_NAME
    sizes = signature.stat().st_size, path.stat().st_size
    try:
        if sizes[0] != _SIGNATURE_BYTES or sizes[1] > _MAX_BYTES:
            raise InvalidSignature
        key.verify(signature.read_bytes(), path.read_bytes())
    except InvalidSignature:
        raise CorruptArtifact(
            f"{signature}: is not the signature of {CHECKSUMS_NAME} by the given key: another key "
            f"signed it, or the list was changed. {_HINT}"
        ) from None


def _check_place(version_dir: Path, manifest: Manifest) -> None:
    """Checks that a signed version was not renamed, nor moved into another bundle."""
    place = version_dir.resolve()
    stated = str(manifest.details.get("name")), str(manifest.counts.get("version"))
    if place.name.isdigit() and stated != (place.parent.name, place.name):
        raise CorruptArtifact(
            f"{version_dir}: was signed as version {stated[1]} of '{stated[0]}', and lies here as "
            f"version {place.name} of '{place.parent.name}'. Move it back, or remove it."
        )


def _changed(path: Path) -> CorruptArtifact:
    return CorruptArtifact(
        f"{path}: does not match its checksum in {CHECKSUMS_NAME}: it was changed or damaged after "
        f"it was published. {_HINT}"
    )


def _not_a_file(path: Path, what: str) -> CorruptArtifact:
    return CorruptArtifact(
        f"{path}: {what}; a version consists of regular files only, and nothing in it was read. "
        "Remove it, or put a copy of the file in its place."
    )
