"""Batching parameters and server configs, read by the protos of their users."""

import re

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.bundle.server_files import (
    batching_parameters,
    models_config,
    monitoring_config,
)


def test_batching_sizes_grow_and_end_with_the_limit():
    text = batching_parameters([8, 1, 64, 8])
    assert re.findall(r"allowed_batch_sizes: (\d+)", text) == ["1", "8", "64"]
    assert "max_batch_size { value: 64 }" in text
    assert "\npad_variable_length_inputs: true\n" in text


def test_models_config_is_one():
    config = text_format.Parse(models_config("movies"), model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (
        "movies",
        "/models/movies",
        "tensorflow",
    )
    assert model.model_version_policy.latest.num_versions == 1


def test_monitoring_config_is_balanced_text():
    # The package of the server's protos does not ship this one.
    assert re.fullmatch(
        r'prometheus_config \{\n  enable: true\n  path: "/monitoring/prometheus/metrics"\n\}\n',
        monitoring_config(),
    )
