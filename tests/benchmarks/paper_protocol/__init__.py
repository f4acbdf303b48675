"""The "paper protocol": what IntTower's ML-1M script measures, next to an honest measurement.

`python -m tests.benchmarks.paper_protocol --help`. `ratings` reads the data, `label_means` and
`protocols` prepare it, `pairs` turns it into tokens, `models` and `fitting` train, `table` tells.
"""
