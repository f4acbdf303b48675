"""Baselines that need no training run: popularity, neighbours, EASE, BM25, fusion."""
