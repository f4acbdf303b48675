"""Room `towers`."""
