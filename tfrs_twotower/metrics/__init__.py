"""Room `metrics`: the quality of a ranking, in NumPy. It uses no TensorFlow and no files.

A ranking is `ranked`, `[num_queries, K]` rows of the corpus, best first, padded with -1. The
ground truth is a `GroundTruth`. `judge` looks up the ranking in the ground truth once; every
ranking metric is then a function `(judged, k) -> [num_queries]`. The caller takes the mean over
queries.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
