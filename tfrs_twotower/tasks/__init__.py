"""Room `tasks`."""
