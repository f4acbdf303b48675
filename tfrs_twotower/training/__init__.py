"""Room `training`: from preprocessed examples to trained towers.

`train` in `tfrs_twotower.training.train` is the door. Every batch, every random number and every
decision is a function of the seed and the step, so a killed run continues as if nothing happened.
"""
