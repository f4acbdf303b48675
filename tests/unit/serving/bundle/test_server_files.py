"""Batching parameters and server configs, read by the protos of their users."""

import inspect
import re

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.bundle.exporting import export_bundle
from serving.bundle.server_files import (
    batching_parameters,
    models_config,
    monitoring_config,
    read_batching_parameters,
)
from tfrs_twotower.config import ExportConfig
from tfrs_twotower.errors import BundleError


def test_batching_sizes_grow_and_end_with_the_limit():
    text = batching_parameters([8, 1, 64, 8])
    assert re.findall(r"allowed_batch_sizes: (\d+)", text) == ["1", "8", "64"]
    assert "max_batch_size { value: 64 }" in text
    assert "\npad_variable_length_inputs: true\n" in text


def test_less_than_half_of_a_batch_is_filling_by_default(tmp_path):
    """A batch of 9 is padded to 16, where sizes of 1, 8 and 64 made it 64."""
    (tmp_path / "batching_params.pbtxt").write_text(
        batching_parameters(ExportConfig().allowed_batch_sizes)
    )
    parameters = read_batching_parameters(tmp_path, num_threads=1)
    assert all(parameters.padded_rows(rows) < 2 * rows for rows in range(1, 65))
    assert parameters.padded_rows(9) == 16
    given = inspect.signature(export_bundle).parameters["allowed_batch_sizes"].default
    assert given == ExportConfig().allowed_batch_sizes


def test_parameters_that_are_exported_are_read(tmp_path):
    path = tmp_path / "batching_params.pbtxt"
    path.write_text(batching_parameters([1, 8, 64]))
    parameters = read_batching_parameters(tmp_path, num_threads=3)
    assert parameters.allowed_batch_sizes == (1, 8, 64)
    assert parameters.max_batch_size == 64
    assert parameters.timeout_s == 0.001
    assert parameters.num_threads == 3
    assert parameters.pad_widths
    assert [parameters.padded_rows(rows) for rows in (1, 2, 8, 9, 64)] == [1, 8, 8, 64, 64]
    path.write_text("num_batch_threads { value: 2 } max_batch_size { value: 4 }")
    parameters = read_batching_parameters(tmp_path, num_threads=3)
    assert (parameters.num_threads, parameters.allowed_batch_sizes, parameters.pad_widths) == (
        2,
        (1, 2, 3, 4),
        False,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch { value: 1 }", "no field named"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", r"found allowed_batch_sizes \[4\]"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [4, 4]", "must increase"),
        ("max_batch_size { value: 0 }", "from at least 1"),
    ],
)
def test_parameters_that_a_model_server_refuses(tmp_path, text, message):
    (tmp_path / "batching_params.pbtxt").write_text(text)
    with pytest.raises(BundleError, match=message):
        read_batching_parameters(tmp_path, num_threads=1)


def test_a_version_without_the_file_is_not_batched(tmp_path):
    assert read_batching_parameters(tmp_path, num_threads=1) is None


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
