"""Random tables, written by Python's csv and by pandas in many forms, are read back as they were.

The tables hold what forms differ about: delimiters, quotes, line ends, blanks and other alphabets
inside cells. Each seed is one table; the forms of each are drawn from the seed.
"""

import bz2
import csv
import gzip
import io
import lzma
import random

import pandas as pd
import pyarrow as pa
import pytest

from tests.unit.tables.reading import read_text, rows_of
from tfrs_twotower.tables.files import MalformedTable

PIECES = [
    *("word", "Käse", "日本", "😀", "7", "x y", " ", '"', '""', "'", ",", ";", "|", "\t", "::"),
    *("\n", "\r\n", "\r", "a,b", '"q"', "#", "\u2028", "\x85", "\x1c"),
]
ENDS = ["\n", "\r\n", "\r"]
"""Python's csv quotes a cell only for the signs of its own line end: others must not be in it."""
PACKERS = [
    *(lambda data: data, gzip.compress, bz2.compress, lzma.compress),
    lambda data: bytes(pa.compress(data, "zstd", asbytes=True)),
]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]


def random_table(dice, pieces=PIECES, width=None):
    """A header and rows; the first cell of each row is an id, so that no row is blank."""
    width = width or dice.randrange(2, 6)
    header = [f"column {number}" for number in range(width)]
    rows = [
        [f"id-{n}"] + ["".join(dice.choices(pieces, k=dice.randrange(4))) for _ in header[1:]]
        for n in range(dice.randrange(1, 30))
    ]
    return [header, *rows]


@pytest.mark.parametrize("seed", range(60))
def test_what_csv_writes(seed):
    dice = random.Random(seed)
    end = dice.choice(ENDS)
    table = random_table(
        dice, [piece for piece in PIECES if piece not in ENDS or {*piece} & {*end}]
    )
    default = dice.choice(",\t")
    delimiter = dice.choice([default, default, ",", ";", "\t", "|"])
    quoting = dice.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows(table)
    content = dice.choice(PACKERS)(text.getvalue().encode(dice.choice(ENCODINGS)))
    declared = {} if dice.random() < 0.5 else {"delimiter": delimiter, "quote": '"'}
    assert rows_of(content, default, **declared) == table


@pytest.mark.parametrize("seed", range(20))
def test_what_pandas_writes(tmp_path, seed):
    dice = random.Random(1000 + seed)
    header, *rows = table = random_table(dice, [piece for piece in PIECES if piece != "\r"])
    suffix, packed = dice.choice([(".csv", None), (".gz", "gzip"), (".bz2", "bz2"), (".xz", "xz")])
    path = tmp_path / f"t{suffix}"
    default = dice.choice(",\t")
    pd.DataFrame(rows, columns=header).to_csv(
        path,
        index=False,
        lineterminator="\n",
        sep=dice.choice([default, ";"]),
        compression=packed,
        encoding=dice.choice(["utf-8", "utf-8-sig", "utf-16" if packed is None else "utf-8"]),
        quoting=dice.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    )
    assert rows_of(path.read_bytes(), default) == table


@pytest.mark.parametrize("seed", range(30))
def test_text_without_quoting(seed):
    """Cells with stray quotes, as programs write them that know no quoting."""
    dice = random.Random(2000 + seed)
    pieces = [piece for piece in PIECES if not {*piece} & {*"\t\r\n"} and "::" not in piece]
    table = random_table(dice, pieces)
    delimiter = dice.choice(["\t", "::"])
    text = "".join(delimiter.join(row) + dice.choice(ENDS[:2]) for row in table)
    declared = {"delimiter": delimiter, "quote": ""}
    assert rows_of(text, "\t", **declared) == table
    lone = [row for row in table[1:] if any(c.count('"') % 2 for c in row)]
    if delimiter == "\t" and lone:  # an odd quote cannot be quoting, so that the file shows it
        assert rows_of(text, "\t") == table


@pytest.mark.parametrize("seed", range(15))
def test_a_file_cut_anywhere_is_read_to_the_cut_or_refused(seed):
    """No record changes: what is read is a beginning of the table, but for its last record."""
    dice = random.Random(3000 + seed)
    table = random_table(dice, width=4)
    text = io.StringIO()
    csv.writer(text).writerows(table)
    whole = text.getvalue()
    for cut in dice.sample(range(30, len(whole)), k=min(40, len(whole) - 30)):
        try:
            _, records, _ = read_text(whole[:cut])
        except MalformedTable:  # inside quotes
            assert whole[:cut].count('"') % 2 or whole[cut] == '"'
            continue
        read = [list(values) for _, values, reason in records if not reason]
        assert read[:-1] == table[1 : len(read)]
