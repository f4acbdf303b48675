"""Beam transforms."""
