"""Room `features`: the first phase of a tower, from raw values to tokens."""
