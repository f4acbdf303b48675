"""Two data sets whose published tables need no conversion: MedQuAD and UCI Online Retail.

MedQuAD: 13,635 medical questions and the 15,001 passages that answer them. Licence: CC BY 4.0. Asma
Ben Abacha and Dina Demner-Fushman, A Question-Entailment Approach to Question Answering, BMC
Bioinformatics 2019. Changes: duplicates and answers shared by several diseases removed, answers cut
to 160 words at the end of a sentence.

Protocol of `feature_specs/medquad.yaml`: the published splits (10,926 train, 1,365 dev, 1,344
test), which share no disease; all passages are ranked, including those that training never saw.
Questions are templates (a disease and a question type), so the other passages of the same disease
are the hard negatives.

Tables: `corpus.jsonl` (_id, text, source, semantic_group), `queries.jsonl` (_id, text, split),
`qrels.tsv` (query-id, corpus-id, score).

UCI Online Retail: a year (December 2010 to 2011) of a British gift-ware web shop. Licence: CC BY
4.0. Daqing Chen, UCI Machine Learning Repository, doi 10.24432/C5BW33. Changes: one row for each
(user, item, invoice); cancellations, unknown customers, zero prices and codes that are not products
removed. 4,334 users, 3,659 items, 386,326 rows.

Protocol of `feature_specs/online_retail.yaml`: global cut-offs in time, the first 80 % of the
events are training and validation, the last 20 % test; an invoice is never cut; users and items
known in training; items bought before are neither relevant nor ranked (40 % of the test events are
such repeats).

Tables: `interactions.parquet` (user_id, item_id, timestamp in s, quantity, price, invoice),
`items.parquet` (item_id, title, price: the median), `users.parquet` (user_id, country).
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.datasets import sources
from pipelines.progress import Reporter


@dataclass(frozen=True)
class PublishedTables:
    """A data set whose files are copied as they are."""

    about: sources.About
    checksums: Mapping[str, str]
    """SHA-256 of each file, by its name."""

    def convert(
        self, source: Path | None, out: Path, cache: Path, reporter: Reporter
    ) -> dict[str, str]:
        """Checks the files and copies them into `out`.

        Returns:
            SHA-256 of each source file.

        Raises:
            DataError: a file is missing or differs from its pinned checksum.
        """
        files = sources.locate(source, tuple(self.checksums), self.about)
        remedy = "It is not the version that the results were measured on: get the original again."
        for name, path in files.items():
            sources.check_sha256(path, self.checksums[name], remedy)
            shutil.copyfile(path, out / name)
        return dict(self.checksums)


MEDQUAD = PublishedTables(
    sources.About(
        name="medquad",
        licence="CC BY 4.0",
        attribution=(
            "Asma Ben Abacha and Dina Demner-Fushman. 2019. A Question-Entailment Approach to "
            "Question Answering. BMC Bioinformatics 20, 511"
        ),
        layout="corpus.jsonl, queries.jsonl, qrels.tsv",
    ),
    {
        "corpus.jsonl": "68300067ce128c9ee29cd80f243b8d769c6fc83ee9d8ec78d488fbb275dd9fd9",
        "queries.jsonl": "759ca4f1c315c6c3941823b6d76ad4ead727b18ae3f80034261c75952e63c86f",
        "qrels.tsv": "47f402f48ef5628aaaa6e91bc2da6bb5a11540eff4badfdc52cd98f2eb686844",
    },
)
ONLINE_RETAIL = PublishedTables(
    sources.About(
        name="online-retail",
        licence="CC BY 4.0",
        attribution="Daqing Chen, Online Retail, UCI Machine Learning Repository, 10.24432/C5BW33",
        layout="interactions.parquet, items.parquet, users.parquet",
    ),
    {
        "interactions.parquet": "b3be6cd90a1a7015af892190a32aa12187f9c6baaba27e1c56c55c2645a228a6",
        "items.parquet": "3984cc271fedf9d601b6d4110fe6233fe3e687086ccd96bd96bf29d201aab855",
        "users.parquet": "8f120e5aec43a1cbc25385ec18e9f02af805026c05f61b918d1d4a187a476c7c",
    },
)
