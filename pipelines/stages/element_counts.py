"""Counts of what a stage wrote, compared with its parents' before its artifact gets its name.

An engine that loses or repeats elements ends without an error, so nothing else would notice.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from tfrs_twotower.artifacts import Manifest
from tfrs_twotower.errors import LostElements

if TYPE_CHECKING:  # it imports Beam, which half of the stages do without
    from pipelines.transforms.job_summary import JobSummary


class Compared(NamedTuple):
    """A number of elements, and the number that the stage's input says."""

    what: str
    """Such as `embeddings of candidates`."""
    found: int
    expected: int
    source: str
    """What has the expected number, such as `preprocessed/ has`."""


def check_counts(stage: str, comparisons: Iterable[Compared]) -> None:
    """Compares every pair of numbers.

    Raises:
        LostElements: a pair differs; the message lists all that do.
    """
    wrong = [
        f"{pair.found:,} {pair.what}, where {pair.source} {pair.expected:,}"
        for pair in comparisons
        if pair.found != pair.expected
    ]
    if wrong:
        raise LostElements(
            f"{stage}: found {'; '.join(wrong)}. The numbers must be equal: whatever ran the stage "
            "has lost or repeated elements. Nothing was written. Run it again; if the numbers "
            "differ again, use another Beam runner, and report it to the maintainers of this one."
        )


def compare_with_parent(
    found: Mapping[str, tuple[str, int]], parent: Manifest
) -> Iterable[Compared]:
    """Pairs numbers with counts of a parent.

    Args:
        found: by the name of the parent's count, what was counted and its number.
        parent: its manifest; a count that it does not state is not compared.
    """
    for name, (what, number) in found.items():
        if name in parent.counts:
            yield Compared(what, number, parent.counts[name], f"{parent.kind}/ has")


def compare_examples(
    what: str, found: int, preprocessed: Manifest, *, refit: bool
) -> Iterable[Compared]:
    """Pairs a number with that of the training examples, with those of a refit if there is one."""
    names = ["train_examples", *(["fresh_examples"] if refit else [])]
    if preprocessed.counts.keys() >= set(names):
        expected = sum(preprocessed.counts[name] for name in names)
        yield Compared(what, found, expected, "preprocessed/ has")


def preprocessing_counts(summary: "JobSummary", num_files: Mapping[str, int]) -> list[Compared]:
    """Pairs the numbers of a preprocessing job: of what it read, kept, left out and wrote.

    Args:
        summary: of the job.
        num_files: number of files of each table.
    """
    count, events = summary.count, summary.events()
    num_events = sum(events.values())
    kept = {
        "interactions": num_events + count("dropped_interactions"),
        "candidates": count("candidates"),
        "queries": count("query_records"),
    }
    pairs = []
    for table, files in num_files.items():
        read, bad = count(f"read_{table}"), summary.num_bad(table)
        out = count(f"left_out_{table}")
        pairs += [
            Compared(f"read files of {table}", count(f"files_{table}"), files, "the table has"),
            Compared(f"{table} kept or left out", kept[table] + bad + out, read, "the files have"),
        ]
    pairs.append(
        Compared(
            "events counted for popularity", count("tallied_events"), events["train"], "train has"
        )
    )
    for split in ("validation", "test"):
        finished, drafts = count(f"{split}_finished"), count(f"{split}_drafts")
        pairs.append(Compared(f"{split} queries finished", finished, drafts, "the job drafted"))
    expected = {
        "interactions": num_events,
        "queries": count("known_queries"),
        "corpus": count("candidates"),
        "frequencies": count("candidates"),
        "train": count("train_examples"),
        "fresh": count("fresh_examples"),
        "validation": count("validation_queries"),
        "test": count("test_queries"),
        **{
            f"quarantine/{table}": summary.num_bad(table) + sum(summary.bad_columns(table).values())
            for table in num_files
        },
    }
    for name, number in expected.items():
        written = summary.written.get(name, 0)
        pairs.append(Compared(f"elements in the shards of {name}", written, number, "the job made"))
    return pairs
