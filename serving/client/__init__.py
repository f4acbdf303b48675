"""Clients for served bundles, their transports, and the canary that checks live answers."""

from tfrs_twotower.environment import require_extra

require_extra(
    "client", "grpc", "prometheus_client", "tensorflow_serving", "urllib3", needed_by="a client"
)
