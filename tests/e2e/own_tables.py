"""Three tables of a shape that no converter of the project writes.

Planted structure: readers of two tastes borrow books of two shelves, so that a sane model ranks a
reader's own shelf first.
"""

import csv
import datetime
import random
from pathlib import Path

NUM_READERS = 120
NUM_BOOKS = 80
LOANS_OF_A_READER = 14


def write_own_tables(directory: Path, seed: int = 7) -> tuple[Path, Path, Path]:
    """Writes Loans.csv, Books.csv and Readers.csv; returns their paths in that order."""
    directory.mkdir(parents=True, exist_ok=True)
    random_numbers = random.Random(seed)
    books = [f"B-{number:03d}" for number in range(NUM_BOOKS)]
    readers = [f"reader {number}" for number in range(NUM_READERS)]
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    loans, moment = [], start
    for _ in range(LOANS_OF_A_READER):
        for position, reader in enumerate(readers):
            moment += datetime.timedelta(minutes=37)
            own_shelf = [b for i, b in enumerate(books) if i % 2 == position % 2]
            book = random_numbers.choice(own_shelf if random_numbers.random() < 0.95 else books)
            loans.append((reader, book, moment.strftime("%Y-%m-%d %H:%M:%S")))
    _write(directory / "Loans.csv", ("Reader Name", "Book No", "Borrowed At"), loans)
    _write(
        directory / "Books.csv",
        ("Book No", "Shelf", "Blurb", "Pages"),
        [
            (
                book,
                "sea" if position % 2 == 0 else "space",
                ""
                if position % 5 == 0
                else f'A "{"harbour and ship" if position % 2 == 0 else "rocket and star"}" story',
                str(100 + position) if position % 7 else "",
            )
            for position, book in enumerate(books)
        ],
    )
    _write(
        directory / "Readers.csv",
        ("Reader Name", "Town"),
        [(reader, random_numbers.choice(("Oslo", "Bergen", ""))) for reader in readers],
    )
    return directory / "Loans.csv", directory / "Books.csv", directory / "Readers.csv"


def _write(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
