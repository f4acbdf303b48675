"""Versions of a bundle: written, checked, measured, published, loaded, rolled back."""
