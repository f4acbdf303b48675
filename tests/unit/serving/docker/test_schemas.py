"""What other people's checkers say of the container files: Kubernetes, Compose, hadolint."""

import json
import shutil
import subprocess
import sys
from copy import deepcopy
from importlib import util
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).parents[4] / "serving" / "docker"
VERSIONS = ("1.31", "1.37")
"""Of Kubernetes: an old one that is still run, and the newest with published schemas."""


def run(tool, *arguments):
    """The end of a command-line tool, beside this Python or on the PATH; skips without it."""
    beside = Path(sys.executable).with_name(tool)
    path = str(beside) if beside.exists() else shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False)


def manifests():
    return list(yaml.safe_load_all((DOCKER / "kubernetes.yaml").read_text(encoding="utf-8")))


def patched(deployment):
    """The Deployment after kubernetes-tls.yaml (JSON Patch, RFC 6902: `add` and `replace`)."""
    deployment = deepcopy(deployment)
    for step in yaml.safe_load((DOCKER / "kubernetes-tls.yaml").read_text(encoding="utf-8")):
        *parents, last = step["path"].strip("/").split("/")
        place = deployment
        for name in parents:
            place = place[int(name) if isinstance(place, list) else name]
        if last == "-":
            place.append(step["value"])
        else:
            assert (last in place) == (step["op"] == "replace")
            place[last] = step["value"]
    return deployment


def all_manifests():
    """Those of kubernetes.yaml, with and without TLS; and the pod of kserve.yaml, as a pod."""
    deployment = next(found for found in manifests() if found["kind"] == "Deployment")
    predictor = yaml.safe_load((DOCKER / "kserve.yaml").read_text(encoding="utf-8"))["spec"][
        "predictor"
    ]
    own = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")
    spec = {name: value for name, value in predictor.items() if name not in own}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mine"}, "spec": spec}
    return [*manifests(), patched(deployment), pod]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_the_manifests(version):
    if util.find_spec("kubernetes_validate") is None:
        pytest.skip("kubernetes-validate is not installed")
    import kubernetes_validate

    for manifest in all_manifests():
        kubernetes_validate.validate(manifest, version, strict=True)
    wrong = next(found for found in manifests() if found["kind"] == "PodDisruptionBudget")
    wrong["spec"]["maxUnavailabel"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_kubeconform_takes_the_manifests(tmp_path):
    """With the schemas of kubernetes-validate, each made to stand alone."""
    if shutil.which("kubeconform") is None or util.find_spec("kubernetes_validate") is None:
        pytest.skip("kubeconform, a Go program, or kubernetes-validate is not installed")
    (place,) = util.find_spec("kubernetes_validate").submodule_search_locations
    schemas = Path(place) / "kubernetes-json-schema" / f"v{VERSIONS[-1]}.0-local-strict"

    def alone(name):
        return json.loads((schemas / name).read_text().replace("/api/_definitions.json#", "#"))

    shared = alone("_definitions.json")["$defs"]
    kinds = {manifest["kind"].lower() for manifest in all_manifests()}
    for path in schemas.glob("*-v[12].json"):
        if path.name.partition("-")[0] not in kinds:
            continue
        (tmp_path / path.name).write_text(json.dumps({**alone(path.name), "$defs": shared}))
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(all_manifests()))
    location = f"{tmp_path}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    done = run("kubeconform", "-strict", "-schema-location", location, tmp_path / "all.yaml")
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_takes_the_file():
    file = DOCKER / "compose.yaml"
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)
    assert done.returncode == 0, done.stdout


def test_hadolint_finds_nothing():
    done = run("hadolint", DOCKER / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_tls_is_what_the_patch_adds():
    deployment = next(found for found in manifests() if found["kind"] == "Deployment")
    spec = patched(deployment)["spec"]["template"]["spec"]
    (server,) = spec["containers"]
    assert server["args"][-1] == "--ssl_config_file=/tls/ssl.config"
    assert {mount["name"] for mount in server["volumeMounts"]} == {
        volume["name"] for volume in spec["volumes"]
    }
    assert "grpc" not in server["livenessProbe"], "a probe of kind gRPC speaks no TLS"
    assert spec["securityContext"]["runAsNonRoot"] is True
