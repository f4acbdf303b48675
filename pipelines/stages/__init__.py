"""Stages: each reads artifacts, writes one kind, and returns its manifest."""
