"""Changes the candidates of a published bundle without training."""
