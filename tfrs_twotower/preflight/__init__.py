"""Room `preflight`."""
