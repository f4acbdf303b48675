"""Do the list lengths, batch sizes and bundles of the stages fit each other?"""

from collections.abc import Iterator

from tfrs_twotower.config import RunConfig
from tfrs_twotower.specs import FeatureSpec


def check_list_lengths(spec: FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of the index and export sections."""
    yield from _check_index(config)
    yield from _check_export(config)


def _check_index(config: RunConfig) -> Iterator[str]:
    index, export = config.index, config.export
    # A request fetches k and as many as it may exclude; the index promises its overlap at
    # index.k, and a promise about a longer list than is served would gate on the wrong thing.
    if index.k > export.k:
        yield (
            f"index.k is {index.k}, but bundles return export.k {export.k}: overlap would be "
            f"measured on lists that are never served. Set index.k to {export.k} or less, or "
            "raise export.k."
        )
    if index.kind == "brute_force":
        tree = {
            "num_leaves": index.num_leaves,
            "num_leaves_to_search": index.num_leaves_to_search,
            "num_reordering_candidates": index.num_reordering_candidates,
        }
        for key, value in tree.items():
            if value is not None:
                yield (
                    f"index.{key} is {value}, but index.kind is brute_force, which has none. "
                    "Remove the key, or set index.kind: scann."
                )
    elif index.vectors == "int8" and index.kind != "auto":
        yield (
            f"index.vectors is int8, but index.kind is {index.kind}; only brute_force stores "
            "vectors so. Remove the key, or set index.kind: brute_force."
        )
    if index.kind == "ivf" and index.num_reordering_candidates is not None:
        yield (
            f"index.num_reordering_candidates is {index.num_reordering_candidates}, but index.kind "
            "is ivf, which scores all that it looks at exactly. Remove the key."
        )
    leaves, searched = index.num_leaves, index.num_leaves_to_search
    if leaves is not None and searched is not None and searched > leaves:
        yield (
            f"index.num_leaves_to_search is {searched}, more than index.num_leaves {leaves}. "
            f"Set it to {leaves} or less."
        )
    reordered = index.num_reordering_candidates
    if reordered is not None and reordered < index.k:
        yield (
            f"index.num_reordering_candidates is {reordered}, less than index.k {index.k}. "
            f"Set it to {index.k} or more."
        )


def _check_export(config: RunConfig) -> Iterator[str]:
    sizes = config.export.allowed_batch_sizes
    if not sizes or list(sizes) != sorted(set(sizes)):
        yield (
            f"export.allowed_batch_sizes is {list(sizes)}; a server wants at least one, rising "
            f"and each once. Write {sorted(set(sizes)) or [1, 8, 64]}."
        )
