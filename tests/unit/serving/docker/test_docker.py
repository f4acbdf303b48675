"""What starts a server in production: it parses, and says only what TensorFlow Serving knows."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.bundle.server_files import BATCHING_NAME, models_config, read_batching_parameters
from serving.ops import library

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


def test_the_image():
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert re.findall(r"^ARG IMAGE=(\S+)\nFROM \$\{IMAGE\}$", code, flags=re.MULTILINE) == [IMAGE]
    assert set(re.findall(r"--([a-z_]+)=", code)) <= {*FLAGS, "chown"}
    assert re.findall(r"^USER (.*)$", code, flags=re.MULTILINE) == ["10001:10001"]


def entrypoint(server, tmp_path):
    """The image's command, with a shell script in the place of TensorFlow Serving."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    (command,) = re.findall(r"^ENTRYPOINT (.*)$", text, flags=re.MULTILINE)
    program = tmp_path / "tensorflow_model_server"
    program.write_text(f"#!/bin/sh\n{server}\n")
    program.chmod(0o755)
    return json.loads(command), {"MODEL_NAME": "mine", "PATH": f"{tmp_path}:{os.defpath}"}


def test_the_image_starts_the_server_with_flags_that_it_knows(tmp_path):
    command, environment = entrypoint('echo "$@"; exit 7', tmp_path)
    command.append("--num_unload_threads=1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 7, "that of the server"
    flags = flags_of(done.stdout.split())
    assert flags["model_config_file"] == "--model_config_file=/models/mine/models.config"
    assert flags["num_unload_threads"] == "--num_unload_threads=1", "more flags may be given"
    assert set(flags) <= FLAGS


def ends_by_sigterm(command, environment, tmp_path):
    """Whether a process that is process 1 of its namespace, as in a container, ends by SIGTERM."""
    running = tmp_path / "running"
    apart = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *command], env=environment
    )
    try:
        for _ in range(500):
            if running.exists():
                break
            time.sleep(0.02)
        children = Path(f"/proc/{apart.pid}/task/{apart.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        apart.wait(3)
    except subprocess.TimeoutExpired:
        return False
    finally:
        apart.kill()
        apart.wait()
    return True


def test_sigterm_ends_the_server_of_the_image(tmp_path):
    """A server without handlers that is process 1 itself would ignore it."""
    unshare = ["unshare", "--pid", "--fork", "true"]
    if not shutil.which("unshare") or subprocess.run(unshare, check=False).returncode:
        pytest.skip("this machine lets nobody make a namespace of processes")
    command, environment = entrypoint(f"touch {tmp_path}/running; exec sleep 60", tmp_path)
    assert ends_by_sigterm(command, environment, tmp_path)
    (tmp_path / "running").unlink()
    assert not ends_by_sigterm(["tensorflow_model_server"], environment, tmp_path)


def test_containers_are_not_root_and_change_nothing():
    service = container("compose.yaml")
    assert service["init"] is True
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\$\{SERVING_USER:-10001:10001\}", service["user"])
    assert service["stop_grace_period"] == "30s"
    assert [port.partition(":-")[2][:10] for port in service["ports"]] == ["127.0.0.1}"] * 2
    for name, pod in (
        ("kubernetes.yaml", documents("kubernetes.yaml")[1]["spec"]["template"]["spec"]),
        ("kserve.yaml", documents("kserve.yaml")[0]["spec"]["predictor"]),
    ):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["shareProcessNamespace"] is True, "else SIGTERM does nothing"
        assert pod["automountServiceAccountToken"] is False
        own = container(name)
        assert own["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        pause = int(own["lifecycle"]["preStop"]["exec"]["command"][1])
        assert pause < pod["terminationGracePeriodSeconds"]
        assert {mount["mountPath"] for mount in own["volumeMounts"] if "readOnly" not in mount} == {
            "/tmp"
        }


def test_connections_end_in_time_for_new_replicas():
    for name in ("compose.yaml", "kubernetes.yaml", "kserve.yaml"):
        argument = flags_of(container(name)["args"])["grpc_channel_arguments"]
        pairs = dict(pair.split("=") for pair in argument.partition("=")[2].split(","))
        assert set(pairs) == {"grpc.max_connection_age_ms", "grpc.max_connection_age_grace_ms"}
        assert all(int(value) > 0 for value in pairs.values())


def test_who_may_connect_and_how_many_pods_go_at_once():
    *_, policy, budget = documents("kubernetes.yaml")
    labels = documents("kubernetes.yaml")[1]["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["egress"] == []
    assert all(rule["from"] for rule in policy["spec"]["ingress"]), "an empty rule admits all"
    assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}


def test_what_no_server_reads_is_not_in_the_image(whole_bundle):
    patterns = [
        line
        for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    bundle = whole_bundle.directory.parent
    paths = [path.relative_to(bundle) for path in bundle.rglob("*")]
    kept = {
        path.as_posix()
        for path in paths
        if not any(path.match(p) or any(up.match(p) for up in path.parents) for p in patterns)
    }
    number = whole_bundle.directory.name
    assert {f"{number}/saved_model.pb", f"{number}/assets", "models.config"} <= kept
    left_out = {path.as_posix() for path in paths} - kept
    assert {f"{number}/refresh", f"{number}/refresh/vectors.npy"} <= left_out
    assert {f"{number}/titles.parquet", ".highest_version"} <= left_out
    copied = re.findall(
        r"^COPY --\S+ (.*) /models", (DOCKER / "Dockerfile").read_text(), re.MULTILINE
    )
    assert copied == ["models.config monitoring.config", "${VERSION}"], "no earlier version"


def test_a_server_is_built_with_all_sources_of_the_operations(tmp_path):
    """The server itself is not built here; the edit of its list of operations is."""
    text = (DOCKER / "Dockerfile.fused").read_text(encoding="utf-8")
    (patterns,) = re.findall(r"^COPY ((?:serving/ops/\S+ )+)", text, re.MULTILINE)
    root = DOCKER.parents[1]
    copied = {path.name for pattern in patterns.split() for path in root.glob(pattern)}
    assert copied == {*library.HEADERS, *library.SOURCES}
    assert f"ARG RELEASE={IMAGE.partition(':')[2]}\n" in text
    expression = re.search(r"sed -i '([^']*)'", text)[1]
    listed = tmp_path / "BUILD"
    listed.write_text('SUPPORTED_TENSORFLOW_OPS = if_v2([]) + [\n    "text",\n]\n')
    subprocess.run(["sed", "-i", expression, listed], check=True)
    (value,) = re.findall(r"= (.*) \+ if_v2", listed.read_text())
    assert value == '["//tensorflow_serving/twotower_ops"]'


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
    _, deployment, service, scaler, *_ = documents("kubernetes.yaml")
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
