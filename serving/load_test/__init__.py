"""How much an endpoint answers, and how fast: locust users that replay prepared requests."""
