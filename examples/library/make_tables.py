"""Writes the tables of this directory: a lending library that never was.

`python examples/library/make_tables.py` writes the same bytes each time. A reader's taste follows
from the town and the year of birth; a reader often goes on with the next volume of a series, and
sometimes takes what everybody has read. `new.csv` has books that came later, `gone.txt` the ids of
books that were lost: both are for `twotower refresh`.
"""

import csv
import datetime
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

SEED = 20
NUM_READERS = 300
NUM_BOOKS = 160
NUM_NEW_BOOKS = 8
VOLUMES_OF_A_SERIES = 4
LOANS_OF_A_READER = (4, 18)
FIRST_DAY = datetime.datetime(2023, 1, 2, 10)
TITLES = {
    "cooking": ("Bread", "Soup", "Salt", "Butter", "The Kitchen"),
    "gardens": ("Roses", "The Orchard", "Hedges", "Compost", "Herbs"),
    "history": ("The Siege", "The Treaty", "The Archive", "The Kings", "The Guilds"),
    "mystery": ("The Witness", "The Alibi", "The Locked Room", "The Verdict", "The Poisoner"),
    "poetry": ("Elegies", "Songs", "Silences", "Letters", "Verses"),
    "sea": ("The Lighthouse", "The Harbour", "The Tide", "The Schooner", "The Pilot"),
    "space": ("The Comet", "The Orbit", "The Station", "The Eclipse", "The Signal"),
    "travel": ("The Railway", "The Ferry", "The Mountain Road", "The Caravan", "The Passport"),
}
PLACES = ("Lindholm", "the North", "Two Rivers", "the Old Quarter", "Winter Island")
AUTHORS = ("A. Berg", "K. Dahl", "S. Eide", "M. Foss", "I. Haugen", "T. Lie", "R. Moen", "O. Vik")
SUBJECTS_OF_A_TOWN = {
    "Oslo": ("mystery", "poetry"),
    "Bergen": ("sea", "history"),
    "Trondheim": ("history", "cooking"),
    "Stavanger": ("gardens", "sea"),
}
BOOK_COLUMNS = ("book", "title", "author", "subject", "year", "pages")

Book = tuple[str, str, str, str, int, int]
Reader = tuple[str, str, int]
Loan = tuple[datetime.datetime, str, str]


def write_tables(directory: Path) -> None:
    """Writes the five files into a directory that exists."""
    dice = random.Random(SEED)  # noqa: S311  (no secret)
    books = [_book(number, dice) for number in range(NUM_BOOKS + NUM_NEW_BOOKS)]
    corpus = books[:NUM_BOOKS]
    readers = [
        (f"R-{number:03d}", dice.choice(sorted(SUBJECTS_OF_A_TOWN)), dice.randint(1940, 2012))
        for number in range(1, NUM_READERS + 1)
    ]
    loans = sorted(loan for reader in readers for loan in _loans(reader, corpus, dice))
    _write(directory / "books.csv", BOOK_COLUMNS, corpus)
    _write(directory / "new.csv", BOOK_COLUMNS, books[NUM_BOOKS:])
    _write(directory / "readers.csv", ("reader", "town", "born"), readers)
    rows = [(reader, book, moment.isoformat(sep=" ")) for moment, reader, book in loans]
    _write(directory / "loans.csv", ("reader", "book", "borrowed_at"), rows)
    gone = [book[0] for book in corpus[6::60]]
    (directory / "gone.txt").write_text("".join(f"{book}\n" for book in gone), encoding="utf-8")


def _book(number: int, dice: random.Random) -> Book:
    """A book; those of one subject come in series by one author."""
    subjects = sorted(TITLES)
    of_subject, subject = number // len(subjects), subjects[number % len(subjects)]
    series, volume = divmod(of_subject, VOLUMES_OF_A_SERIES)
    words, place = TITLES[subject], PLACES[(series + number) % len(PLACES)]
    title = f"{words[series % len(words)]} of {place}, volume {volume + 1}"
    author = AUTHORS[(3 * series + number) % len(AUTHORS)]
    year = 1990 + 6 * series + volume
    return f"B-{number + 1:03d}", title, author, subject, year, dice.randint(90, 620)


def _loans(reader: Reader, corpus: Sequence[Book], dice: random.Random) -> Iterator[Loan]:
    """When a reader borrowed which book; no book twice."""
    name, town, born = reader
    favourites = {*SUBJECTS_OF_A_TOWN[town], "travel" if born < 1975 else "space"}
    moment = FIRST_DAY + datetime.timedelta(days=dice.randrange(540))
    unread, last = list(corpus), corpus[0]
    for _ in range(dice.randint(*LOANS_OF_A_READER)):
        next_volumes = [book for book in unread if book[2:4] == last[2:4] and book[4] > last[4]]
        if next_volumes and dice.random() < 0.3:
            last = next_volumes[0]
        elif dice.random() < 0.8:
            last = dice.choice([book for book in unread if book[3] in favourites])
        else:
            last = unread[int(len(unread) * dice.random() ** 3)]  # the first books are classics
        unread.remove(last)
        yield moment, name, last[0]
        moment += datetime.timedelta(days=dice.randint(2, 25), minutes=dice.randint(0, 400))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    write_tables(Path(__file__).parent)
