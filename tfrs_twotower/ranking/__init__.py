"""Room `ranking`: order, top k, overlap and ragged lists, in NumPy only, without files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
