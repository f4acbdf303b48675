"""Preprocessed data as tensors and arrays: examples, corpus, evaluated queries, vocabularies."""
