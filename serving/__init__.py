"""Bundles for TF Serving: what is exported, and what answers from it."""
