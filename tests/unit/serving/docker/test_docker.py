"""What starts a server in production: it parses, and says only what TensorFlow Serving knows."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.bundle.server_files import BATCHING_NAME, models_config, read_batching_parameters

DOCKER = Path(__file__).parents[4] / "serving" / "docker"
IMAGE = "tensorflow/serving:2.20.0"
FLAGS = {
    "port", "rest_api_port", "model_config_file", "model_config_file_poll_wait_seconds",
    "model_name", "model_base_path", "monitoring_config_file", "enable_batching",
    "enable_per_model_batching_parameters", "batching_parameters_file",
    "enable_grpc_healthcheck_service", "num_load_threads", "num_unload_threads",
    "file_system_poll_wait_seconds", "max_num_load_retries", "enable_model_warmup",
    "num_request_iterations_for_warmup", "rest_api_timeout_in_ms", "grpc_max_threads",
    "grpc_channel_arguments", "ssl_config_file", "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism", "flush_filesystem_caches", "saved_model_tags",
    "allow_version_labels_for_unavailable_models", "enable_signature_method_name_check",
}  # fmt: skip
"""Flags of tensorflow_model_server 2.20 that the project has looked up."""


def documents(name):
    return list(yaml.safe_load_all((DOCKER / name).read_text(encoding="utf-8")))


def flags_of(arguments):
    return {argument.removeprefix("--").partition("=")[0]: argument for argument in arguments}


def container(name):
    if name == "compose.yaml":
        service = documents(name)[0]["services"]["serving"]
        return {**service, "args": service["command"]}
    if name == "kserve.yaml":
        return documents(name)[0]["spec"]["predictor"]["containers"][0]
    return documents(name)[1]["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml", "kserve.yaml"])
def test_containers_know_their_flags(name):
    spec = container(name)
    assert spec["image"] == IMAGE
    flags = flags_of(spec["args"])
    assert set(flags) <= FLAGS
    assert {"model_config_file", "monitoring_config_file", "enable_batching"} <= set(flags)
    assert int(flags["num_load_threads"].partition("=")[2]) >= 1
    assert flags["model_config_file"].endswith("/models.config")


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.scann"])
def test_dockerfiles(name):
    text = (DOCKER / name).read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    stages = re.findall(r"^FROM (\S+)", code, flags=re.MULTILINE)
    assert stages
    assert "2.20.0" in text
    assert all(stage.startswith("tensorflow/serving:") for stage in stages)
    if name == "Dockerfile":
        assert stages == [IMAGE]
        assert set(re.findall(r"--([a-z_]+)", code)) <= FLAGS
    else:
        assert "NOT RUN" in text


def test_the_image_starts_a_shell_that_knows_what_to_do():
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.*)$", text, flags=re.MULTILINE)
    shell, option, script, name = json.loads(entrypoint)
    script = script.replace("exec tensorflow_model_server", "echo")
    environment = {"MODEL_NAME": "mine", "PATH": os.defpath}
    done = subprocess.run(
        [shell, option, script, name, "--num_unload_threads=1"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    flags = flags_of(done.stdout.split())
    assert flags["model_config_file"] == "--model_config_file=/models/mine/models.config"
    assert flags["num_unload_threads"] == "--num_unload_threads=1", "more flags may be given"
    assert set(flags) <= FLAGS


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "kubernetes.yaml", "kserve.yaml"])
def test_files_of_the_bundle_are_where_an_export_puts_them(name, whole_bundle):
    text = (DOCKER / name).read_text(encoding="utf-8")
    names = set(re.findall(r"/models/(?:mine|\$MODEL_NAME|\$\{MODEL[^}]*\})/([\w.]+)", text))
    assert names == {"models.config", "monitoring.config"}
    assert all((whole_bundle.directory.parent / path).is_file() for path in names)
    assert (whole_bundle.directory / BATCHING_NAME).is_file()


def test_the_service_is_healthy_when_a_version_is_available():
    (service,) = documents("compose.yaml")[0]["services"].values()
    *_, script = service["healthcheck"]["test"]
    *_, pattern = shlex.split(script.rpartition("&& grep")[2].removesuffix("<&3"))
    for state, expected in (("AVAILABLE", 0), ("LOADING", 1)):
        answer = f'"state": "{state}", "error_message": "UNAVAILABLE"'
        done = subprocess.run(["grep", "-q", pattern], input=answer, text=True, check=False)
        assert done.returncode == expected


def test_the_pod_is_probed_and_has_memory_for_two_versions():
    _, deployment, service, scaler = documents("kubernetes.yaml")
    (pod,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(pod)
    assert pod["resources"]["requests"]["memory"] == pod["resources"]["limits"]["memory"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    ports = {port["name"] for port in pod["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    volumes = {volume["name"] for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in pod["volumeMounts"]} == volumes


def test_text_protos_are_what_the_server_reads(tmp_path):
    threads = (DOCKER / "batching_threads.pbtxt").read_text(encoding="utf-8")
    (tmp_path / BATCHING_NAME).write_text(threads, encoding="utf-8")
    parameters = read_batching_parameters(tmp_path, num_threads=1)
    assert parameters is not None
    assert parameters.num_threads == 4
    in_pod = documents("kubernetes.yaml")[0]["data"]["batching_threads.pbtxt"]
    assert in_pod in threads
    text_format.Parse(models_config("mine"), model_server_config_pb2.ModelServerConfig())


def test_models_config_speaks_of_the_paths_that_are_mounted():
    assert 'base_path: "/models/mine"' in models_config("mine")
    flags = flags_of(container("kubernetes.yaml")["args"])
    assert flags["model_config_file"] == "--model_config_file=/models/mine/models.config"
