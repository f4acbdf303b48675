"""UCI Online Retail: a year (December 2010 to 2011) of a British gift-ware web shop.

Licence: CC BY 4.0. Daqing Chen, UCI Machine Learning Repository, doi 10.24432/C5BW33. Changes: one
row for each (user, item, invoice); cancellations, unknown customers, zero prices and codes that
are not products removed. 4,334 users, 3,659 items, 386,326 rows.

Protocol of `feature_specs/online_retail.yaml`: global cut-offs in time, the first 80 % of the
events are training and validation, the last 20 % test; an invoice is never cut; users and items
known in training; items bought before are neither relevant nor ranked (40 % of the test events
are such repeats).

Tables: `interactions.parquet` (user_id, item_id, timestamp in s, quantity, price, invoice),
`items.parquet` (item_id, title, price: the median), `users.parquet` (user_id, country).
"""

from collections.abc import Mapping
from pathlib import Path

from pipelines.datasets.sources import About, Reporter
from pipelines.datasets.tables import copy_checked

ABOUT = About(
    name="online-retail",
    licence="CC BY 4.0",
    attribution="Daqing Chen, Online Retail, UCI Machine Learning Repository, 10.24432/C5BW33",
    layout="interactions.parquet, items.parquet, users.parquet",
)
CHECKSUMS = {
    "interactions.parquet": "b3be6cd90a1a7015af892190a32aa12187f9c6baaba27e1c56c55c2645a228a6",
    "items.parquet": "3984cc271fedf9d601b6d4110fe6233fe3e687086ccd96bd96bf29d201aab855",
    "users.parquet": "8f120e5aec43a1cbc25385ec18e9f02af805026c05f61b918d1d4a187a476c7c",
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
