"""MedQuAD: 13,635 medical questions and the 15,001 passages that answer them.

Licence: CC BY 4.0. Asma Ben Abacha and Dina Demner-Fushman, A Question-Entailment Approach to
Question Answering, BMC Bioinformatics 2019. Changes: duplicates and answers shared by several
diseases removed, answers cut to 160 words at the end of a sentence.

Protocol of `feature_specs/medquad.yaml`: the published splits (10,926 train, 1,365 dev, 1,344
test), which share no disease; the passages of all splits are ranked, also those that training
never saw. Questions are templates (a disease and a question type), so the other passages of the
same disease are the hard negatives.

Tables: `corpus.jsonl` (_id, text, source, semantic_group), `queries.jsonl` (_id, text, split),
`qrels.tsv` (query-id, corpus-id, score).
"""

from collections.abc import Mapping
from pathlib import Path

from pipelines.datasets.sources import About, Reporter
from pipelines.datasets.tables import copy_checked

ABOUT = About(
    name="medquad",
    licence="CC BY 4.0",
    attribution=(
        "Asma Ben Abacha and Dina Demner-Fushman. 2019. A Question-Entailment Approach to "
        "Question Answering. BMC Bioinformatics 20, 511"
    ),
    layout="corpus.jsonl, queries.jsonl, qrels.tsv",
)
CHECKSUMS = {
    "corpus.jsonl": "68300067ce128c9ee29cd80f243b8d769c6fc83ee9d8ec78d488fbb275dd9fd9",
    "queries.jsonl": "759ca4f1c315c6c3941823b6d76ad4ead727b18ae3f80034261c75952e63c86f",
    "qrels.tsv": "47f402f48ef5628aaaa6e91bc2da6bb5a11540eff4badfdc52cd98f2eb686844",
}


def convert(
    source: Path | None,
    out: Path,
    cache: Path,
    reporter: Reporter,
    expected: Mapping[str, str] = CHECKSUMS,
) -> dict[str, str]:
    """Checks the three tables and copies them into `out`.

    Returns:
        SHA-256 of each source file.

    Raises:
        DataError: a file is missing or differs from the pinned checksum.
    """
    return copy_checked(source, out, expected, ABOUT)
