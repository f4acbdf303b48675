"""Versions of a bundle: written, checked, measured, published, loaded, rolled back."""

from tfrs_twotower.environment import require_extra

require_extra("serve", "tensorflow_serving", needed_by="a bundle")
