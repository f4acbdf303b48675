"""Other candidates in a published bundle, without training."""
