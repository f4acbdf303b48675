"""MovieLens 1M: 1,000,209 timed ratings of 3,706 films by 6,040 people, 2000-2003.

Licence: GroupLens' terms of use, as for MovieLens 100K. The user names the directory of the
official archive with `ratings.dat`, `movies.dat`, `users.dat` (latin-1, fields separated by
`::`).

Protocol of `feature_specs/movielens_1m.yaml`: as for MovieLens 100K.

Tables: as for MovieLens 100K; `age` is the lower end of the published age group, `occupation` the
published name of its code.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipelines.datasets import movielens_100k, sources
from pipelines.datasets.sources import write_tsv
from pipelines.progress import Reporter
from tfrs_twotower.errors import DataError

ABOUT = replace(
    movielens_100k.ABOUT,
    name="movielens-1m",
    layout="GroupLens' ratings.dat, movies.dat, users.dat",
    home="https://grouplens.org/datasets/movielens/1m/",
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
    files = sources.locate(source, _FILES, ABOUT)
    ratings = sources.read_fields(files["ratings.dat"], "::", 4, encoding="latin-1")
    write_tsv(out / "interactions.tsv", movielens_100k.INTERACTION_COLUMNS, ratings)
    write_tsv(out / "items.tsv", movielens_100k.ITEM_COLUMNS, _films(files["movies.dat"]))
    write_tsv(out / "users.tsv", movielens_100k.USER_COLUMNS, _people(files["users.dat"]))
    return sources.checksums(files)


def _films(path: Path) -> Iterator[tuple[str, ...]]:
    for item, titled_year, genres in sources.read_fields(path, "::", 3, encoding="latin-1"):
        title, year = movielens_100k.split_title(titled_year)
        yield item, title, year, genres


def _people(path: Path) -> Iterator[tuple[str, ...]]:
    for user, gender, age, code, zip_code in sources.read_fields(path, "::", 5, encoding="latin-1"):
        if not code.isdecimal() or int(code) >= len(_OCCUPATIONS):
            raise DataError(
                f"{path}: user {user}: found occupation {code!r}, allowed: 0 to "
                f"{len(_OCCUPATIONS) - 1}. Unpack the original archive again."
            )
        yield user, age, gender, _OCCUPATIONS[int(code)], zip_code[:1]
