"""Measurements, one module each; run by hand, never as timed tests."""
