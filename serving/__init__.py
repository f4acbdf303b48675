"""Trained towers and an index as a SavedModel bundle, and what a model server needs beside it.

The names below are all that a user of the package needs. Each is loaded at its first use, so that
importing `serving` does not load TensorFlow. Part of tfrs-twotower.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.bundle.exporting import export_bundle
    from serving.bundle.loading import LoadedBundle, load_bundle
    from serving.bundle.publishing import WrittenBundle
    from serving.client.client import Client, Recommendations
    from serving.client.sharded_client import ShardedClient
    from serving.client.tls import Tls
    from tfrs_twotower.towers.protocol import TowerPair, TwoTowers

__all__ = [
    "Client",
    "LoadedBundle",
    "Recommendations",
    "ShardedClient",
    "Tls",
    "TowerPair",
    "TwoTowers",
    "WrittenBundle",
    "export_bundle",
    "load_bundle",
]

_MODULES = {
    "serving.bundle.exporting": ("export_bundle",),
    "serving.bundle.loading": ("LoadedBundle", "load_bundle"),
    "serving.bundle.publishing": ("WrittenBundle",),
    "serving.client.client": ("Client", "Recommendations"),
    "serving.client.sharded_client": ("ShardedClient",),
    "serving.client.tls": ("Tls",),
    "tfrs_twotower.towers.protocol": ("TowerPair", "TwoTowers"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Loads a public name at its first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
