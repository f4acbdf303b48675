"""The candidate index: exact and ScaNN search over candidate embeddings, measured before use."""
