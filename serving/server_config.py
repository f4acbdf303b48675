"""`models.config` and `monitoring.config`: what TensorFlow Serving is started with."""

MODELS_NAME = "models.config"
MONITORING_NAME = "monitoring.config"


def models_config(name: str, num_versions: int) -> str:
    """A `ModelServerConfig` message that serves the newest version of one bundle.

    Args:
        name: the bundle's and the model's name.
        num_versions: how many versions the bundle directory keeps, for the comment.
    """
    return f"""\
# Mount this directory at /models/{name} and start the server with
#   --model_config_file=/models/{name}/{MODELS_NAME} --model_config_file_poll_wait_seconds=30
#   --monitoring_config_file=/models/{name}/{MONITORING_NAME}
#   --enable_batching --enable_per_model_batching_parameters
# To go back to an earlier version (the newest {num_versions} are kept), replace latest by
#   specific {{ versions: VERSION }}
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""


def monitoring_config() -> str:
    """A `MonitoringConfig` message: Prometheus metrics on the REST port."""
    return """\
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""
