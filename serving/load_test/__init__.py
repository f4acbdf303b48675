"""How much an endpoint answers, and how fast: locust users that replay prepared requests."""

from tfrs_twotower.environment import require_extra

require_extra("loadtest", "locust", needed_by="a load test")
