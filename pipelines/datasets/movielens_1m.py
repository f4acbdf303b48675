"""MovieLens 1M: 1,000,209 timed ratings of 3,706 films by 6,040 people, 2000-2003.

Licence: GroupLens' terms of use, as for MovieLens 100K. The user names the directory of the
official archive: `ratings.dat`, `movies.dat`, `users.dat` (latin-1, fields separated by `::`).

Protocol of `feature_specs/movielens_1m.yaml`: as for MovieLens 100K.

Tables: as for MovieLens 100K; `age` is the lower end of the published age group, `occupation` the
published name of its code.
"""

from collections.abc import Iterator
from pathlib import Path

from pipelines.datasets.movielens_100k import (
    INTERACTION_COLUMNS,
    ITEM_COLUMNS,
    USER_COLUMNS,
    split_title,
)
from pipelines.datasets.sources import (
    About,
    Reporter,
    checksums,
    locate,
    read_fields,
    require_source,
)
from pipelines.datasets.tables import write_tsv
from tfrs_twotower.errors import DataError

ABOUT = About(
    name="movielens-1m",
    licence="GroupLens terms of use: research with attribution; no redistribution",
    attribution=(
        "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and "
        "Context. ACM Transactions on Interactive Intelligent Systems 5(4), 19. "
        "doi 10.1145/2827872"
    ),
    layout="GroupLens' ratings.dat, movies.dat, users.dat",
)
_FILES = ("ratings.dat", "movies.dat", "users.dat")
_OCCUPATIONS = (
    "other",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)


def convert(source: Path | None, out: Path, cache: Path, reporter: Reporter) -> dict[str, str]:
    """Writes the three tables into `out`, a line at a time.

    Returns:
        SHA-256 of each source file.

    Raises:
        DataError: the source is missing, damaged or not in the official layout.
    """
    files = locate(require_source(source, ABOUT), _FILES, ABOUT)
    ratings = read_fields(files["ratings.dat"], "::", 4, encoding="latin-1")
    write_tsv(out / "interactions.tsv", INTERACTION_COLUMNS, ratings)
    write_tsv(out / "items.tsv", ITEM_COLUMNS, _films(files["movies.dat"]))
    write_tsv(out / "users.tsv", USER_COLUMNS, _people(files["users.dat"]))
    return checksums(files)


def _films(path: Path) -> Iterator[tuple[str, ...]]:
    for item, titled_year, genres in read_fields(path, "::", 3, encoding="latin-1"):
        title, year = split_title(titled_year)
        yield item, title, year, genres


def _people(path: Path) -> Iterator[tuple[str, ...]]:
    for user, gender, age, code, zip_code in read_fields(path, "::", 5, encoding="latin-1"):
        if not code.isdecimal() or int(code) >= len(_OCCUPATIONS):
            raise DataError(
                f"{path}: user {user}: found occupation {code!r}, allowed: 0 to "
                f"{len(_OCCUPATIONS) - 1}. Unpack the original archive again."
            )
        yield user, age, gender, _OCCUPATIONS[int(code)], zip_code[:1]
