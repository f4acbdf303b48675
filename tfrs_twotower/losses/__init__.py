"""Room `losses`."""
