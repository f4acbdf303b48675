"""One preprocessing for all runs of the same data."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from tfrs_twotower.artifacts import (
    MANIFEST_NAME,
    Layout,
    replace_directory,
    staging_directory,
)


def share_preprocessed(workdir: Path, others: Iterable[Path]) -> None:
    """Gives a working directory the preprocessed artifact of one that has it already.

    The files are hard links (copies where the file system has none): stages never write into a
    finished artifact. Whether it is up to date is not decided here; the run looks at its manifest.
    Nothing happens where the directory has one already, or no other has.
    """
    destination = Layout(workdir).preprocessed
    if (destination / MANIFEST_NAME).exists():
        return
    for other in others:
        source = Layout(other).preprocessed
        if (source / MANIFEST_NAME).exists():
            staging = staging_directory(destination)
            shutil.copytree(source, staging, copy_function=_link, dirs_exist_ok=True)
            replace_directory(staging, destination)
            return


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)
