"""Room `training`: from preprocessed examples to trained towers.

`train` in `tfrs_twotower.training.train` is the entry point. Every batch, every random number and
every decision depends only on the seed and the step, so a killed run resumes with the same result.
"""
