"""Tables as the results were measured on: copied where they are at hand, recognised where not.

A set that its publisher ships in another form (a workbook, XML) is converted. Whether the tables
that come out are those that the results of this project were measured on shows in a checksum of
what decides the results, which does not depend on how a file is written.
"""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.datasets import sources
from pipelines.progress import Reporter


@dataclass(frozen=True)
class PublishedTables:
    """The files of a set on which its results were measured."""

    checksums: Mapping[str, str]
    """SHA-256 of each file, by its name."""
    content: str
    """`checksum_of` what decides the results, which a conversion reproduces."""

    def lie_in(self, source: Path) -> bool:
        """Whether `source` is a directory with files of these names, or holds one that has them."""
        return any(
            all((directory / name).is_file() for name in self.checksums)
            for directory in sources.directories_of(source)
        )

    def copy(self, source: Path, about: sources.About, out: Path) -> dict[str, str]:
        """Checks the files and copies them into `out`.

        Returns:
            SHA-256 of each source file.

        Raises:
            DataError: a file is missing or differs from its pinned checksum.
        """
        files = sources.locate(source, tuple(self.checksums), about)
        remedy = "It is not the version that the results were measured on: get the original again."
        for name, path in files.items():
            sources.check_sha256(path, self.checksums[name], remedy)
            shutil.copyfile(path, out / name)
        return dict(self.checksums)

    def say_whether_equal(self, lines: Iterable[str], counts: str, reporter: Reporter) -> None:
        """Tells the user whether converted tables are those that the results were measured on.

        Args:
            lines: what decides the results, one record each.
            counts: the size of the converted tables, in words.
            reporter: is told.
        """
        equal = checksum_of(lines) == self.content
        verdict = (
            "the tables that the results were measured on"
            if equal
            else "not the tables that the results were measured on, so figures may differ"
        )
        reporter.message(f"{counts}: {verdict}")


def checksum_of(lines: Iterable[str]) -> str:
    """SHA-256 of lines in sorted order."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
