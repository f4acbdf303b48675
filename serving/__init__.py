"""Trained towers and an index as a SavedModel bundle, and what a model server needs beside it."""
