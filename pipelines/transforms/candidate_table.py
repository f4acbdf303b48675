"""Reads a table of candidates without a Beam pipeline: the few that a refresh brings.

A record becomes features by the same functions as in preprocessing, and of an id that stands twice
the first record counts, as there.
"""

from typing import NamedTuple

from pipelines.transforms.cells import BadCell
from pipelines.transforms.corpus import candidate_example
from pipelines.transforms.positions import position_of
from pipelines.transforms.records import EntityParser
from pipelines.transforms.sources import Source
from pipelines.transforms.table_files import UnreadableFile, read_table_file
from tfrs_twotower.errors import DataError
from tfrs_twotower.specs import FeatureSpec


class CandidateTable(NamedTuple):
    """What is in the files."""

    examples: list[bytes]
    """A serialized `tf.train.Example` for each candidate, as in the corpus of preprocessing."""
    bad: list[str]
    """Each record that cannot be used: where it stands and why."""


def read_candidate_table(source: Source, spec: FeatureSpec) -> CandidateTable:
    """Reads all files of a candidates table.

    Args:
        source: the files; its columns are `entity_columns` of the candidate side.
        spec: the feature spec.

    Raises:
        DataError: a file cannot be read to its end.
    """
    features = spec.candidate.features
    parse = EntityParser(spec.candidates, features, "candidate")
    examples: dict[str, bytes] = {}
    bad: list[str] = []
    for file_number, path in enumerate(source.files):
        try:
            for number, cells, reason in read_table_file(path, source.file_format, source.columns):
                position = position_of(file_number, number)
                try:
                    if cells is None:
                        raise BadCell(reason)
                    entity = parse(position, cells)
                    if entity.entity_id in examples:
                        raise BadCell("duplicate candidate id")
                except BadCell as cause:
                    bad.append(f"{source.describe(position)}: {cause.reason}")
                else:
                    examples[entity.entity_id] = candidate_example(entity, spec)
        except UnreadableFile as cause:
            raise DataError(
                f"candidates: {cause}. Check the file: it may have been cut off while it was "
                "written or copied."
            ) from cause
    return CandidateTable(list(examples.values()), bad)
