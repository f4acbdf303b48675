"""Room `metrics`."""
