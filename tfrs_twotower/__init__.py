"""A two-tower retrieval stage for recommenders on the TensorFlow stack.

`__init__.pyi` names the library; `docs/library.md` shows it in use. Each name is loaded when it is
first asked for, so importing this package loads no TensorFlow. It only chooses Keras 2 for
everything that is imported after it, because TensorFlow Recommenders refuses Keras 3 (see
`keras_api`). Part of tfrs-twotower.
"""

import os

import lazy_loader

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
