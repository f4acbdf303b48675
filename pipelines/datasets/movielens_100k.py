"""MovieLens 100K: 100,000 timed ratings of 1,682 films by 943 people, 1997-1998.

Licence: GroupLens' terms of use. Free for research with attribution, no redistribution, no
commercial use without permission; so the data are fetched, never shipped. They come from the wheel
of RecBole 1.2.1, which contains them as an example (titles without the year, which is in
`release_year`), or from a directory that the user names, in GroupLens' or RecBole's layout.

Protocol of `feature_specs/movielens_100k.yaml`: the last 20 % of each person's ratings are test
events, the 10 % before them validation events; ratings of 4 and 5 are relevant; people and films
known in training; films rated before are neither relevant nor ranked.

Tables: `interactions.tsv` (user_id, item_id, rating, timestamp in s), `items.tsv` (item_id, title,
year, genres joined by `|`), `users.tsv` (user_id, age, gender, occupation, region: the first
character of the zip code).
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipelines.datasets import sources, wheels
from pipelines.datasets.sources import write_tsv
from pipelines.progress import Reporter

ABOUT = sources.About(
    name="movielens-100k",
    licence="GroupLens terms of use: research with attribution; no redistribution",
    attribution=(
        "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and "
        "Context. ACM Transactions on Interactive Intelligent Systems 5(4), 19. "
        "doi 10.1145/2827872"
    ),
    layout="GroupLens' u.data, u.item, u.user (or RecBole's ml-100k.inter, .item, .user)",
    home="https://grouplens.org/datasets/movielens/100k/",
)
WHEEL = wheels.Wheel(
    requirement="recbole==1.2.1",
    file_name="recbole-1.2.1-py3-none-any.whl",
    sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
)
INTERACTION_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
ITEM_COLUMNS = ("item_id", "title", "year", "genres")
USER_COLUMNS = ("user_id", "age", "gender", "occupation", "region")
_OFFICIAL = ("u.data", "u.item", "u.user")
_RECBOLE = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")
_MISSING = "unkonwn"  # RecBole's own spelling
_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_TITLE_YEAR = re.compile(r"^(?P<title>.*?)\s*\((?P<year>\d{4})\)(?:\s*\(V\))?\s*$")  # (V): video


def split_title(text: str) -> tuple[str, str]:
    """Title and year of `Toy Story (1995)`; the year is "" if it is missing."""
    match = _TITLE_YEAR.match(text)
    return (match["title"], match["year"]) if match else (text.strip(), "")


def convert(source: Path | None, out: Path, cache: Path, reporter: Reporter) -> dict[str, str]:
    """Writes the three tables into `out`.

    Returns:
        SHA-256 of each source file.

    Raises:
        DataError: the source is missing, damaged or not in a known layout.
    """
    if source is None:
        wheel = wheels.fetch_wheel(WHEEL, cache, reporter)
        with tempfile.TemporaryDirectory() as temporary:
            inside = {name: f"recbole/dataset_example/ml-100k/{name}" for name in _RECBOLE}
            files = wheels.extract_members(wheel, inside, Path(temporary))
            _convert_recbole(files, out)
            return {wheel.name: WHEEL.sha256, **sources.checksums(files)}
    directory = sources.require_source(source, ABOUT)
    if any(directory.rglob("ml-100k.inter")):
        files = sources.locate(directory, _RECBOLE, ABOUT)
        _convert_recbole(files, out)
    else:
        files = sources.locate(directory, _OFFICIAL, ABOUT)
        _convert_official(files, out)
    return sources.checksums(files)


def _convert_official(files: dict[str, Path], out: Path) -> None:
    ratings = sources.read_fields(files["u.data"], "\t", 4)
    write_tsv(out / "interactions.tsv", INTERACTION_COLUMNS, ratings)
    write_tsv(out / "items.tsv", ITEM_COLUMNS, _official_items(files["u.item"]))
    people = (
        (user, age, gender, occupation, zip_code[:1])
        for user, age, gender, occupation, zip_code in sources.read_fields(files["u.user"], "|", 5)
    )
    write_tsv(out / "users.tsv", USER_COLUMNS, people)


def _official_items(path: Path) -> Iterator[tuple[str, ...]]:
    for fields in sources.read_fields(path, "|", 5 + len(_GENRES), encoding="latin-1"):
        title, title_year = split_title(fields[1])
        year = fields[2][-4:] or title_year  # the release date, as in 01-Jan-1995
        genres = [name for name, flag in zip(_GENRES, fields[5:], strict=True) if flag == "1"]
        yield fields[0], title, year, "|".join(genres)


def _convert_recbole(files: dict[str, Path], out: Path) -> None:
    ratings = _without_header(files["ml-100k.inter"], 4)
    write_tsv(out / "interactions.tsv", INTERACTION_COLUMNS, ratings)
    write_tsv(out / "items.tsv", ITEM_COLUMNS, _recbole_items(files["ml-100k.item"]))
    people = (
        (user, age, gender, occupation, zip_code[:1])
        for user, age, gender, occupation, zip_code in _without_header(files["ml-100k.user"], 5)
    )
    write_tsv(out / "users.tsv", USER_COLUMNS, people)


def _recbole_items(path: Path) -> Iterator[tuple[str, ...]]:
    for item, text, year, genres in _without_header(path, 4):
        # RecBole read the year from the last brackets, which are "(V)" for a film made for video.
        title, title_year = split_title(text)
        title = "unknown" if title == _MISSING else title
        year = year if year.isdecimal() else title_year
        yield item, title, year, "|".join(genres.split())


def _without_header(path: Path, num_fields: int) -> Iterator[list[str]]:
    rows = sources.read_fields(path, "\t", num_fields)
    next(rows, None)
    return rows
