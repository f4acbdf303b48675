"""Asking an endpoint: clients, transports, and the canary that compares answers."""
