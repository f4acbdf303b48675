"""What systems are called where people read them."""

_LABELS = {
    "ease": "EASE",
    "item_knn": "item kNN",
    "bm25": "BM25",
}


def label(system: str) -> str:
    """`item_knn` is `item kNN`; names without an entry get spaces for underscores."""
    return _LABELS.get(system, system.replace("_", " "))
