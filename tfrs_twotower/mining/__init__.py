"""Room `mining`: what the retrieval stage returns for the training examples."""
