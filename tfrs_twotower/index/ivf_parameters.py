"""Parameters of a partitioned index, and where they start from for a corpus of a given size."""

import math
from dataclasses import dataclass

from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index.search_parameters import SearchParameters

# Measured on a million candidates of 64 dimensions: against the square root, four times as many
# clusters find the same neighbours among a tenth of the candidates, and scoring the centroids
# costs less than that saves.
_CLUSTERS_PER_ROOT = 4
_ROUNDED_TO = 16
_LEAF_SHARES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)


@dataclass(frozen=True)
class IvfTraining:
    """What a partitioned index is trained with."""

    num_clusters: int
    """Clusters of k-means."""
    leaf_size: int
    """Candidates of a leaf, at most; a larger cluster becomes several leaves."""


def ivf_training(config: IndexConfig, num_candidates: int) -> IvfTraining:
    """Parameters for a corpus: leaves of half the mean cluster waste little on padding."""
    wanted = config.num_leaves or round(_CLUSTERS_PER_ROOT * math.sqrt(num_candidates))
    num_clusters = max(1, min(wanted, num_candidates // 10))
    half = num_candidates / num_clusters / 2
    return IvfTraining(num_clusters, _ROUNDED_TO * math.ceil(half / _ROUNDED_TO))


def ivf_grid(config: IndexConfig, num_leaves: int, num_candidates: int) -> list[SearchParameters]:
    """Numbers of leaves to try, fewest first; a value that the config gives is not varied."""
    k, given = min(config.k, num_candidates), config.num_leaves_to_search
    shares = {math.ceil(share * num_leaves) for share in _LEAF_SHARES}
    leaves = {min(given, num_leaves)} if given else shares
    return [SearchParameters(k, number, None) for number in sorted(leaves)]
