"""MS MARCO passage ranking: 8.8 million passages, 530,000 judged training questions.

Licence: non-commercial research (MS MARCO terms). The user names a directory with the official
files `collection.tsv`, `queries.train.tsv`, `queries.dev.small.tsv`, `qrels.train.tsv`,
`qrels.dev.small.tsv`.

Protocol of `feature_specs/msmarco_passage.yaml`: the small development set is test, as in the
literature; validation is one training question in a hundred, chosen by a hash of its id; all
passages are ranked.

Tables: `passages.parquet` (passage_id, text), `queries.jsonl` (query_id, text, split; judged
questions only), `qrels.tsv` (query_id, passage_id, relevance). The converter streams all files and
holds only the ids of the judged questions in memory.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.datasets import sources
from pipelines.datasets.sources import write_jsonl, write_tsv
from pipelines.progress import Reporter
from tfrs_twotower.errors import DataError

ABOUT = sources.About(
    name="msmarco-passage",
    licence="MS MARCO terms: non-commercial research",
    attribution=(
        "Payal Bajaj et al. 2016. MS MARCO: A Human Generated MAchine Reading COmprehension "
        "Dataset. arXiv 1611.09268"
    ),
    layout="collection.tsv and queries.{train,dev.small}.tsv, qrels.{train,dev.small}.tsv",
    home="https://microsoft.github.io/msmarco/",
)
_SETS = ("train", "dev.small")
_FILES = (
    "collection.tsv",
    *(f"queries.{part}.tsv" for part in _SETS),
    *(f"qrels.{part}.tsv" for part in _SETS),
)
_ROWS_PER_GROUP = 50_000
_PASSAGE_SCHEMA = pa.schema([("passage_id", pa.string()), ("text", pa.string())])


def split_of(query_id: str, part: str) -> str:
    """The split of a question: `test` for the development set, else train or validation."""
    if part != "train":
        return "test"
    return "validation" if zlib.crc32(query_id.encode()) % 100 == 0 else "train"


def convert(source: Path | None, out: Path, cache: Path, reporter: Reporter) -> dict[str, str]:
    """Writes the three tables into `out`, in bounded memory.

    Returns:
        SHA-256 of each source file.

    Raises:
        DataError: the source is missing, damaged or not in the official layout.
    """
    files = sources.locate(source, _FILES, ABOUT)
    judged: set[str] = set()
    columns = ("query_id", "passage_id", "relevance")
    num_judgements = write_tsv(out / "qrels.tsv", columns, _judgements(files, judged))
    num_queries = write_jsonl(out / "queries.jsonl", _questions(files, judged))
    if num_queries != len(judged):
        raise DataError(
            f"{files['queries.train.tsv'].parent}: found {num_queries} of {len(judged)} judged "
            "questions in queries.*.tsv. The files are cut short or of different releases: get "
            "them again."
        )
    num_passages = _write_passages(files["collection.tsv"], out / "passages.parquet", reporter)
    reporter.message(
        f"{num_passages:,} passages, {num_queries:,} judged questions, "
        f"{num_judgements:,} judgements"
    )
    return sources.checksums(files)


def _judgements(files: dict[str, Path], judged: set[str]) -> Iterator[tuple[str, str, str]]:
    for part in _SETS:
        for query, _, passage, relevance in sources.read_fields(
            files[f"qrels.{part}.tsv"], "\t", 4
        ):
            judged.add(query)
            yield query, passage, relevance


def _questions(files: dict[str, Path], judged: set[str]) -> Iterator[dict[str, str]]:
    for part in _SETS:
        for query, text in sources.read_fields(files[f"queries.{part}.tsv"], "\t", 2):
            if query in judged:
                yield {"query_id": query, "text": text, "split": split_of(query, part)}


def _write_passages(path: Path, destination: Path, reporter: Reporter) -> int:
    total, done, count = path.stat().st_size, 0, 0
    ids: list[str] = []
    texts: list[str] = []
    with pq.ParquetWriter(destination, _PASSAGE_SCHEMA) as writer:

        def flush() -> None:
            writer.write_table(pa.table([ids, texts], schema=_PASSAGE_SCHEMA))
            reporter.progress("passages", min(done, total), total, f"{count:,} passages")
            ids.clear()
            texts.clear()

        for passage, text in sources.read_fields(path, "\t", 2):
            ids.append(passage)
            texts.append(text)
            count += 1
            done += len(passage) + len(text) + 2
            if len(ids) == _ROWS_PER_GROUP:
                flush()
        if ids:
            flush()
    return count
