"""Measures throughput and latency of an endpoint with locust users that replay requests."""

from tfrs_twotower.environment import require_extra

require_extra("loadtest", "locust", needed_by="a load test")
