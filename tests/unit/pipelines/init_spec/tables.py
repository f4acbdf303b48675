"""Three differently shaped sets of tables."""

import csv
import gzip
import json
from datetime import datetime, timedelta, timezone

import pandas as pd

START = datetime(2024, 1, 1, 9, 0, tzinfo=timezone.utc)
GENRES = ("Drama", "Comedy", "Crime", "War")


def write_csv(path, header, rows, opener=open):
    path.parent.mkdir(parents=True, exist_ok=True)
    with opener(path, "wt", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def shop(directory):
    """CSV with capitals, spaces and umlauts; times as text; prices; a basket."""
    events = [
        (
            f"K{i % 10:03}",
            f"A{(i * 7) % 30:04}",
            (START + timedelta(hours=13 * i)).strftime("%Y-%m-%d %H:%M:%S"),
            1 + i % 4,
            f"R{i // 2}",
        )
        for i in range(200)
    ]
    articles = [
        (f"A{i:04}", f"Blaue Tasse Nr {i} aus Porzellan", 2.5 + i * i, GENRES[i % 4], i % 2, "")
        for i in range(30)
    ]
    customers = [(f"K{i:03}", ("DE", "AT", "CH")[i % 3], 20 + 3 * i) for i in range(10)]
    return (
        write_csv(
            directory / "Käufe.csv",
            ("Kunden-Nr", "Artikel Nr.", "Kauf Date", "Quantity", "Order ID"),
            events,
        ),
        write_csv(
            directory / "artikel.csv",
            ("Artikel Nr.", "Produkt Name", "Preis (€)", "価格", "2nd Hand", "leer"),
            articles,
        ),
        write_csv(directory / "kunden.csv", ("Kunden-Nr", "Länder", "Alter"), customers),
    )


def films(directory):
    """JSON lines, gzipped; milliseconds; ratings; lists and `|`; ids called `id`."""
    directory.mkdir(parents=True, exist_ok=True)
    start_ms = int(START.timestamp() * 1000)
    events = [
        {"userId": i // 10, "movieId": 100 + (i * 7) % 40, "ts": start_ms + i, "rating": 1 + i % 5}
        for i in range(300)
    ]
    items = [
        {
            "id": 100 + i,
            "title": None if i == 3 else f"The film number {i} of them all",
            "genres": [GENRES[i % 4], GENRES[(i + 1) % 4]],
            "tags": "|".join(("slow", "old", "long")[: 1 + i % 3]),
            "exclude_ids": ("a", "b")[i % 2],
            "meta": {"nested": i},
        }
        for i in range(40)
    ]
    with gzip.open(directory / "ratings.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps(event) + "\n" for event in events)
    with gzip.open(directory / "movies.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps(item) + "\n" for item in items)
    return directory / "ratings.jsonl.gz", directory / "movies.jsonl.gz", None


def search(directory):
    """Parquet; no times; a split column; text on both sides under the same name."""
    directory.mkdir(parents=True, exist_ok=True)
    splits = ("train", "train", "dev", "test")
    pd.DataFrame(
        {"qid": [f"q{i}" for i in range(40)], "docid": [f"d{i % 50}" for i in range(40)]}
    ).to_parquet(directory / "qrels.parquet")
    pd.DataFrame(
        {
            "_id": [f"d{i}" for i in range(50)],
            "text": [f"passage {i} says a great deal of things about it" for i in range(50)],
            "source": [("web", "book")[i % 2] for i in range(50)],
        }
    ).to_parquet(directory / "corpus.parquet")
    pd.DataFrame(
        {
            "_id": [f"q{i}" for i in range(40)],
            "text": [f"what is the meaning of number {i}" for i in range(40)],
            "source": [("phone", "desk")[i % 2] for i in range(40)],
            "split": [splits[i % 4] for i in range(40)],
        }
    ).to_parquet(directory / "queries.parquet")
    return (
        directory / "qrels.parquet",
        directory / "corpus.parquet",
        directory / "queries.parquet",
    )
