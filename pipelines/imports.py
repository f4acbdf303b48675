"""Imports without Python's collector, which takes a third of the time that TensorFlow's takes."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Nothing is collected while modules are imported, or looked at again afterwards.

    An import makes hundreds of thousands of objects that stay until the process ends. The collector
    passes over all of them each time that there are a quarter more, and later with each of its full
    passes; frozen objects it leaves alone.
    """
    was_enabled, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
        if len(sys.modules) > before:
            gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
