"""A local server of bundles with TensorFlow Serving's two APIs, for development and tests.

Production is TensorFlow Serving: this server is Python, answers some hundreds of requests a second,
and exists so that a bundle can be asked over the wire where there is no model server.
"""

from tfrs_twotower.environment import require_extra

require_extra(
    *("serve", "anyio", "grpc_health", "h11", "prometheus_client", "starlette", "uvicorn"),
    needed_by="the local server",
)
