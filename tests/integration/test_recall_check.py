"""The canary against an endpoint that answers well, badly, or with another version."""

import json
import re
import shutil
import time

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.bundle.loading import load_bundle
from serving.bundle.refresh_files import RefreshFiles
from serving.client.recall_check import RecallCheck, prometheus_text
from tests.fixtures.small_release import K, small_queries
from tests.unit.pipelines.cli.command import twotower
from tests.unit.serving.fake_endpoint import grpc_endpoint

pytestmark = pytest.mark.integration
NUM_QUERIES = 20


class Endpoint:
    """Answers with a bundle; the last `wrong` places of each list hold what nobody knows."""

    def __init__(self, bundle):
        self.bundle, self.wrong, self.failures = bundle, 0, []

    def definitions(self):
        from tensorflow_serving.apis import get_model_metadata_pb2

        found = get_model_metadata_pb2.SignatureDefMap()
        for name, spec in self.bundle.inputs("candidate_generation").items():
            info = found.signature_def["candidate_generation"].inputs[name]
            info.dtype = spec.dtype.as_datatype_enum
            info.tensor_shape.CopyFrom(spec.shape.as_proto())
        return found

    def predict(self, signature, inputs):
        assert len(inputs["history"]) == 1, "the largest of export.allowed_batch_sizes"
        found = self.bundle.call(signature, inputs)
        ids = found["candidate_ids"].copy()
        ids[:, K - self.wrong :] = b"nobody"
        return {**found, "candidate_ids": ids}


@pytest.fixture(scope="module")
def bundle(whole_bundle):
    return load_bundle(whole_bundle.directory)


@pytest.fixture(scope="module")
def queries(tmp_path_factory):
    path = tmp_path_factory.mktemp("queries") / "queries.jsonl"
    histories = small_queries(NUM_QUERIES)["history"].tolist()
    lines = [json.dumps({"history": [name.decode() for name in line]}) for line in histories]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def check(monkeypatch, capsys, bundle, queries):
    def run(*arguments, wrong=0, where=bundle.directory.parent):
        endpoint = Endpoint(bundle)
        endpoint.wrong = wrong
        with grpc_endpoint(endpoint) as target:
            return twotower(
                *(monkeypatch, capsys, "recall-check", target, "--bundle", where),
                *("--queries", queries, *arguments),
            )

    return run


def test_an_exact_endpoint_finds_everything(check, bundle):
    result = check("--json")
    assert result.code == 0, result.err
    assert json.loads(result.out) == {
        "model": "shop",
        "model_version": bundle.manifest.details["model_version"],
        "k": K,
        "num_queries": NUM_QUERIES,
        "overlap": 1.0,
        "worst_overlap": 1.0,
        "target_overlap": 0.5,
        "worst_decile": 1.0,
        "perturbed_overlap": 1.0,
        "perturbed_worst_decile": 1.0,
        "min_overlap": 0.5,
        "passed": True,
    }


def test_two_wrong_places_of_five(check, tmp_path):
    path = tmp_path / "canary.prom"
    result = check("--min-overlap", "0.7", "--textfile", path, wrong=2)
    assert result.code == 1
    assert f"overlap@5 {3 / 5:.4f} with exact search over 20 queries" in result.out
    families = families_of(path.read_text())
    (sample,) = families["twotower_recall_check_overlap"].samples
    assert sample.labels == {"model": "shop", "k": "5"}
    assert sample.value == pytest.approx(3 / 5)
    (version,) = families["twotower_recall_check_version"].samples
    assert re.fullmatch(r"\d+-[0-9a-f]+", version.labels["model_version"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["canary.prom"]
    assert path.stat().st_mode & 0o044 == 0o044, "the exporter is another user"


def families_of(text):
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {family.type for family in families.values()} == {"gauge"}
    assert all(family.documentation for family in families.values())
    assert text.endswith("\n")
    return families


def test_the_textfile_can_be_printed(check):
    result = check("--textfile", "-")
    assert result.code == 0, result.err
    found = {name: family.samples[0].value for name, family in families_of(result.out).items()}
    age = time.time() - found.pop("twotower_recall_check_timestamp_seconds")
    assert 0 <= age < 60
    assert found == {
        "twotower_recall_check_overlap": 1.0,
        "twotower_recall_check_worst_overlap": 1.0,
        "twotower_recall_check_worst_decile": 1.0,
        "twotower_recall_check_perturbed_overlap": 1.0,
        "twotower_recall_check_target_overlap": 0.5,
        "twotower_recall_check_queries": NUM_QUERIES,
        "twotower_recall_check_version": 1.0,
    }
    assert check("--textfile", "-", "--json").code == 2


def test_a_name_that_must_be_escaped():
    found = RecallCheck('a "\\b\n', "7-abc", 5, 1, 0.5, 0.5, 0.9)
    (sample,) = families_of(prometheus_text(found, 1.0))["twotower_recall_check_overlap"].samples
    assert sample.labels["model"] == 'a "\\b\n'


def test_a_missing_bundle_is_named_rather_than_its_queries(monkeypatch, capsys, tmp_path):
    target, where = "grpc://localhost:1/shop", tmp_path / "bundle" / "shop"
    result = twotower(monkeypatch, capsys, "recall-check", target, "--bundle", where)
    assert result.code == 1
    assert result.err.startswith(f"twotower: {where}: there is no bundle. Expected")


def test_a_bundle_away_from_its_queries_asks_for_some(monkeypatch, capsys, bundle, tmp_path):
    moved = tmp_path / "elsewhere" / "shop" / "1"
    shutil.copytree(bundle.directory, moved)
    target = "grpc://localhost:1/shop"
    result = twotower(monkeypatch, capsys, "recall-check", target, "--bundle", moved)
    assert result.code == 1
    assert "no preprocessed/ with test queries" in result.err
    assert "Give --queries" in result.err


def test_fewer_queries(check):
    assert json.loads(check("--json", "--num-queries", 3).out)["num_queries"] == 3


def test_a_version_that_is_not_here(check, bundle, tmp_path):
    (tmp_path / "12").mkdir()
    result = check("--textfile", tmp_path / "canary.prom", where=tmp_path)
    assert result.code == 1
    assert not (tmp_path / "canary.prom").exists()
    served = bundle.manifest.details["model_version"]
    assert f"the endpoint serves {served}, which is not here" in result.err


def test_no_endpoint(monkeypatch, capsys, bundle, queries):
    result = twotower(
        *(monkeypatch, capsys, "recall-check", "http://localhost:9/shop"),
        *("--bundle", bundle.directory, "--queries", queries),
    )
    assert result.code == 2
    assert "localhost:9, model 'shop': UNAVAILABLE" in result.err


def test_vectors_are_those_of_the_version(bundle, queries):
    """The exact search of the check, worked out here from the bundle's own answers."""
    corpus = RefreshFiles(bundle.directory).corpus()
    raw = small_queries(NUM_QUERIES)
    embeddings = bundle.call("query_embedding", raw)["embedding"]
    lists = bundle.call(
        "candidate_generation",
        {**raw, **{name: [[""]] * NUM_QUERIES for name in ("exclude_ids", "allow", "deny")}},
    )
    best = np.argsort(-(embeddings @ corpus.vectors.T), axis=1, kind="stable")[:, :K]
    assert corpus.ids[best].tolist() == [
        [name.decode() for name in line] for line in lists["candidate_ids"]
    ]
