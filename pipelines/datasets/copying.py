"""Converting a set whose published form is already what the feature spec reads: check and copy."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from pipelines.datasets.about import About
from pipelines.datasets.sources import check_sha256, locate, require_source


def copy_checked(
    source: Path | None, out: Path, expected: Mapping[str, str], about: About
) -> dict[str, str]:
    """Copies each file whose SHA-256 is as expected.

    Args:
        source: directory that the user named, or None.
        out: directory to copy into.
        expected: SHA-256 by file name.
        about: the data set, for messages.

    Returns:
        The checksums.

    Raises:
        DataError: a file is missing or differs.
    """
    files = locate(require_source(source, about), tuple(expected), about)
    remedy = "It is not the version that the results were measured on: get the original again."
    for name, path in files.items():
        check_sha256(path, expected[name], remedy)
        shutil.copyfile(path, out / name)
    return dict(expected)
