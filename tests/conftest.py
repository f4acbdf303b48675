"""Importing the package chooses Keras 2, before a test module imports TensorFlow."""

import tfrs_twotower  # noqa: F401
