"""How much of the corpus one search looks at."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchParameters:
    """Amounts of one search; searches of one index may differ in them."""

    k: int
    """List length that the other two are meant for."""
    num_leaves_to_search: int | None
    """Partitions searched; None without a tree."""
    num_reordering_candidates: int | None
    """Candidates that ScaNN scores exactly at the end; None for ivf, which scores all exactly."""
