"""The public data sets by name, and the function that prepares any of them."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.datasets import (
    completejourney,
    medquad,
    movielens_1m,
    movielens_100k,
    msmarco_passage,
    online_retail,
    sources,
)
from pipelines.progress import Reporter
from tfrs_twotower.artifacts import replace_directory, staging_directory
from tfrs_twotower.errors import DataError, did_you_mean

SOURCE_RECORD = "SOURCE.json"
Convert = Callable[[Path | None, Path, Path, Reporter], dict[str, str]]


@dataclass(frozen=True)
class Dataset:
    """A data set and the function that writes its tables."""

    about: sources.About
    convert: Convert
    """From the source (None downloads it), the directory to write into, the download cache and the
    reporter to the SHA-256 of each source file."""


DATASETS: dict[str, Dataset] = {
    dataset.about.name: dataset
    for dataset in (
        Dataset(movielens_100k.ABOUT, movielens_100k.convert),
        Dataset(movielens_1m.ABOUT, movielens_1m.convert),
        Dataset(completejourney.ABOUT, completejourney.convert),
        Dataset(online_retail.ABOUT, online_retail.convert),
        Dataset(medquad.ABOUT, medquad.convert),
        Dataset(msmarco_passage.ABOUT, msmarco_passage.convert),
    )
}


def dataset_names() -> tuple[str, ...]:
    """The names of the data sets, sorted."""
    return tuple(sorted(DATASETS))


def find_dataset(name: str) -> Dataset:
    """The data set with a name, in which underscores may replace hyphens.

    Raises:
        DataError: there is no data set with this name.
    """
    known = DATASETS.get(name.replace("_", "-").lower())
    if known is None:
        raise DataError(
            f"dataset {name}: there is no such set{did_you_mean(name, DATASETS)}; "
            f"allowed: {', '.join(dataset_names())}."
        )
    return known


def prepare(name: str, out: Path, source: Path | None, reporter: Reporter) -> Path:
    """Fetches and converts a public data set.

    The tables and a `SOURCE.json` (name, licence, attribution, SHA-256 of each source file) are
    written beside the destination and then renamed; they replace an earlier conversion.

    Args:
        name: one of `dataset_names()`.
        out: directory in which the data set gets a directory of its own.
        source: the original files: a zip archive or a directory that holds them. None downloads
            them if that is possible.
        reporter: shows the progress of the conversion.

    Returns:
        `out/<name with underscores>`.

    Raises:
        DataError: the name is unknown, or the source is missing, damaged or cannot be fetched.
    """
    dataset = find_dataset(name)
    destination = out / dataset.about.directory
    if source is not None and source.resolve() == destination.resolve():
        raise DataError(
            f"--source {source}: is also where the converted set would be written. "
            "Name another directory with --out."
        )
    with (
        sources.unpacked(source) as directory,
        replaced_tables(destination, dataset.about.name) as (staging, record),
    ):
        sums = dataset.convert(directory, staging, sources.cache_directory(), reporter)
        record |= {
            "licence": dataset.about.licence,
            "attribution": dataset.about.attribution,
            "sha256": sums,
        }
    reporter.message(f"{dataset.about.name}: {dataset.about.licence}")
    return destination


@contextmanager
def replaced_tables(destination: Path, name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Gives a directory for the tables, and a record that becomes their `SOURCE.json`.

    Both get their place when the block ends without an error; what lies there is replaced.

    Args:
        destination: directory of the data set.
        name: of the set, which the record begins with.

    Raises:
        DataError: a file cannot be written.
    """
    staging = destination
    record: dict[str, Any] = {"name": name}
    try:
        staging = staging_directory(destination)
        yield staging, record
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        (staging / SOURCE_RECORD).write_text(text, encoding="utf-8")
        replace_directory(staging, destination)
    except OSError as cause:
        raise DataError(
            f"dataset {name}: {cause}. Check the directory and the free space there."
        ) from cause
    finally:
        if staging != destination:
            shutil.rmtree(staging, ignore_errors=True)  # renamed by now, unless something failed
