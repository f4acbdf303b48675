"""Room `features`."""
