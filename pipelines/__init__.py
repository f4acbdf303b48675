"""Stages, Beam transforms, data sets, run configs and the command line. Part of tfrs-twotower."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """The types of TFX artifacts, whose names in ML Metadata are `pipelines.NAME`."""
    if name[:1].isupper():
        try:
            types = importlib.import_module("pipelines.tfx_dag.artifact_types")
            return types.BY_NAME[name]
        except (ImportError, KeyError):  # there is no TFX, or no such type
            pass
    raise AttributeError(f"module 'pipelines' has no attribute '{name}'")
