"""Room `mining`: lists of the candidates that retrieval returns for training examples."""
