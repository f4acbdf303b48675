"""The search for settings on validation queries, and the run config that it writes."""
