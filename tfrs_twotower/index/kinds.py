"""Which kind of index a corpus gets."""

from typing import Literal

from tfrs_twotower.config import IndexConfig

EXACT_BELOW = 20_000
"""ScaNN's documentation advises exact search below this many candidates."""

Kind = Literal["brute_force", "scann", "ivf"]


def resolve_kind(config: IndexConfig, num_candidates: int) -> Kind:
    """The kind that the config names, or that `auto` chooses.

    `auto` takes exact search for a small corpus, and where nothing less than the exact answer is
    wanted; else the approximate search that the server can load.
    """
    if config.kind != "auto":
        return config.kind
    if num_candidates < EXACT_BELOW or config.target_overlap >= 1.0:
        return "brute_force"
    return "scann" if config.server == "scann" else "ivf"
