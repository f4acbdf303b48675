"""Asking an endpoint: clients, transports, and the canary that compares answers."""

from tfrs_twotower.environment import require_extra

require_extra(
    "client", "grpc", "prometheus_client", "tensorflow_serving", "urllib3", needed_by="a client"
)
