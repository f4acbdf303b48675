"""The data sets by name, and the one function that prepares any of them."""

import difflib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.datasets import (
    completejourney,
    medquad,
    movielens_1m,
    movielens_100k,
    msmarco_passage,
    online_retail,
)
from pipelines.datasets.sources import About, Reporter, cache_directory
from tfrs_twotower.artifacts import replace_directory, staging_directory
from tfrs_twotower.errors import DataError

SOURCE_RECORD = "SOURCE.json"
Convert = Callable[[Path | None, Path, Path, Reporter], dict[str, str]]


@dataclass(frozen=True)
class Dataset:
    """A data set and the function that writes its tables."""

    about: About
    convert: Convert
    """(source or None, directory to write into, download cache, reporter) -> SHA-256 of each
    source file."""


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
    """Names that `prepare` knows, sorted."""
    return tuple(sorted(DATASETS))


def find_dataset(name: str) -> Dataset:
    """The data set of a name; underscores may stand for hyphens.

    Raises:
        DataError: there is none of this name.
    """
    known = DATASETS.get(name.replace("_", "-").lower())
    if known is None:
        near = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise DataError(
            f"dataset {name}: there is no such set; allowed: {', '.join(dataset_names())}.{hint}"
        )
    return known


def prepare(name: str, out: Path, source: Path | None, reporter: Reporter) -> Path:
    """Fetches and converts a public data set.

    The tables and a `SOURCE.json` (name, licence, attribution, SHA-256 of each source file) are
    written beside the destination and renamed into place; an earlier conversion is replaced.

    Args:
        name: one of `dataset_names()`.
        out: directory to put the set's directory into.
        source: directory with the original files; None downloads them where that is possible.
        reporter: is told how far the conversion is.

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
    staging = destination
    try:
        staging = staging_directory(destination)
        sums = dataset.convert(source, staging, cache_directory(), reporter)
        record = {
            "name": dataset.about.name,
            "licence": dataset.about.licence,
            "attribution": dataset.about.attribution,
            "sha256": sums,
        }
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        (staging / SOURCE_RECORD).write_text(text, encoding="utf-8")
        replace_directory(staging, destination)
    except OSError as cause:
        raise DataError(
            f"dataset {dataset.about.name}: {cause}. Check the directory and the free space there."
        ) from cause
    finally:
        if staging != destination:
            shutil.rmtree(staging, ignore_errors=True)  # renamed by now, unless something failed
    reporter.message(f"{dataset.about.name}: {dataset.about.licence}")
    return destination
