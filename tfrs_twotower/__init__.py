"""A two-tower retrieval stage for recommenders on the TensorFlow stack.

Importing this package loads no TensorFlow; it only chooses Keras 2 for everything that is
imported after it, because TensorFlow Recommenders refuses Keras 3 (see `keras_api`).
"""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

__version__ = "0.1.0"

__all__ = ["__version__"]
