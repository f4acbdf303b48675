"""A local server of bundles with TensorFlow Serving's two APIs, for development and tests.

In production, use TensorFlow Serving: this server is written in Python, answers some hundreds of
requests a second, and exists so that bundles can be called over the network without a model server.
"""

from tfrs_twotower.environment import require_extra

require_extra(
    *("serve", "anyio", "grpc_health", "h11", "prometheus_client", "starlette", "uvicorn"),
    needed_by="the local server",
)
