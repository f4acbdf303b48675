import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.bundle.loading import load_bundle
from serving.bundle.server_files import WARMUP_PATH
from serving.bundle.server_ops import check_bundle
from serving.bundle.versions import list_versions
from serving.graph.model import ServingModel
from tests.reference.search import LOWEST, search
from tests.unit.serving import fakes
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import BundleError, CorruptArtifact, MissingArtifact

KINDS = ["brute_force", "scann"]


@pytest.fixture(scope="module", params=KINDS)
def written(request, tmp_path_factory):
    if request.param == "scann":
        pytest.importorskip("scann")
    bundle = tmp_path_factory.mktemp("bundles") / request.param
    return fakes.write_fake_bundle(bundle, request.param)


@pytest.fixture(scope="module")
def loaded(written):
    return load_bundle(written.directory.parent)


def test_what_lies_in_a_bundle(written):
    bundle, version = written.directory.parent, written.directory
    assert sorted(path.name for path in bundle.iterdir()) == sorted(
        [str(written.version), ".highest_version", "models.config", "monitoring.config"]
    )
    assert {"saved_model.pb", "variables", "assets", "assets.extra", "batching_params.pbtxt"} <= {
        path.name for path in version.iterdir()
    }
    on_disk = {
        path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()
    }
    assert set(written.manifest.files) == on_disk - {"manifest.json", "SHA256SUMS"}


def test_signatures(loaded):
    signatures = loaded.model.signatures
    assert set(signatures) == {
        "serving_default",
        "candidate_generation",
        "query_embedding",
        "candidate_embedding",
        "serving_examples",
    }
    shapes = {name: spec.shape.as_list() for name, spec in loaded.inputs("serving_default").items()}
    assert shapes == {
        "color": [None],
        "recent": [None, 3],
        "size": [None],
        "exclude_ids": [None, None],
    }
    outputs = signatures["serving_default"].structured_outputs
    assert {name: spec.shape.as_list() for name, spec in outputs.items()} == {
        "candidate_ids": [None, 6],
        "scores": [None, 6],
        "model_version": [None],
    }
    assert outputs["scores"].dtype == tf.float32


def test_three_hundred_random_exclusions_agree_with_the_oracle(loaded):
    random = np.random.default_rng(0)
    for _ in range(30):
        size = 10
        excluded = [
            list(random.choice([*fakes.IDS, "", "unknown"], random.integers(0, 24)))
            for _ in range(size)
        ]
        numbers = random.integers(0, 25, size).astype(np.float32)
        outputs = loaded.call("serving_default", fakes.requests(size, excluded, numbers))
        assert np.isfinite(outputs["scores"]).all()
        for row in range(size):
            query = fakes.VECTORS[int(numbers[row])]
            ids, scores = search(query, fakes.VECTORS, fakes.IDS, excluded[row], 6)
            assert [name.decode() for name in outputs["candidate_ids"][row]] == ids
            np.testing.assert_allclose(outputs["scores"][row], scores, atol=1e-6)


def test_excluding_all_but_one(loaded):
    outputs = loaded.call("serving_default", fakes.requests(1, [fakes.IDS[1:]]))
    assert outputs["candidate_ids"][0].tolist() == [b"c00"] + [b""] * 5
    assert outputs["scores"][0, 1:].tolist() == [LOWEST] * 5


def test_a_query_whose_embedding_is_nan_does_not_spoil_its_batch(written):
    class BrokenTower(fakes.FakeTower):
        def __call__(self, raw):
            size = raw["size"][:, None]
            return tf.where(size > 5.0, float("nan"), super().__call__(raw))

    towers = fakes.fake_towers(BrokenTower("size"))
    release = fakes.fake_release(written.manifest.details["index"], towers=towers, k=3)
    model = ServingModel(release, "v")
    inputs = fakes.requests(2, [[], []], np.array([1.0, 9.0], np.float32))
    outputs = model.signatures()["serving_default"](
        **{name: tf.constant(value) for name, value in inputs.items()}
    )
    assert outputs["candidate_ids"].numpy()[0, 0] == b"c01"
    assert outputs["candidate_ids"].numpy()[1].tolist() == [b""] * 3
    assert outputs["scores"].numpy()[1].tolist() == [LOWEST] * 3


def test_candidate_generation_is_the_cascade_for_now(loaded):
    inputs = fakes.requests(4, [["c01"], [], [], []])
    both = [loaded.call(name, inputs) for name in ("serving_default", "candidate_generation")]
    np.testing.assert_array_equal(both[0]["candidate_ids"], both[1]["candidate_ids"])


def test_embeddings(loaded):
    queries = fakes.requests(3, [[], [], []])
    del queries["exclude_ids"]
    np.testing.assert_array_equal(
        loaded.call("query_embedding", queries)["embedding"], fakes.VECTORS[:3]
    )
    candidates = {"item_id": ["a"], "price": [7.0]}
    outputs = loaded.call("candidate_embedding", candidates)
    np.testing.assert_array_equal(outputs["embedding"], fakes.VECTORS[7:8])
    assert outputs["model_version"].shape == (1,)


def test_serialized_examples_give_the_same_list(loaded):
    def example(number, excluded):
        feature = {
            "size": tf.train.Feature(float_list=tf.train.FloatList(value=[number])),
            "exclude_ids": tf.train.Feature(bytes_list=tf.train.BytesList(value=excluded)),
        }
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    examples = {"examples": [example(3.0, []), example(4.0, [b"c04", b"c05"])]}
    outputs = loaded.call("serving_examples", examples)
    inputs = fakes.requests(2, [[], ["c04", "c05"]], np.array([3.0, 4.0], np.float32))
    expected = loaded.call("serving_default", inputs)
    np.testing.assert_array_equal(outputs["candidate_ids"], expected["candidate_ids"])


def test_the_version_stands_in_every_answer(written, loaded):
    outputs = loaded.call("serving_default", fakes.requests(2, [[], []]))
    expected = written.manifest.details["model_version"].encode()
    assert outputs["model_version"].tolist() == [expected, expected]
    assert expected.startswith(str(written.version).encode() + b"-")


def test_what_a_stock_server_lacks(written):
    missing = check_bundle(written.directory.parent, "stock")
    if written.manifest.details["index"] == "scann":
        assert missing == ("Scann>ScannSearchBatched", "Scann>TensorsToScann")
    else:
        assert missing == ()
    assert check_bundle(written.directory, "scann") == ()


def test_a_fresh_process_loads_it_without_the_project(written):
    code = """
import json, sys
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
if sys.argv[2] == "scann":
    from scann.scann_ops.py import scann_ops
model = tf.saved_model.load(sys.argv[1])
answer = model.signatures["serving_default"](
    color=tf.constant([""]), recent=tf.constant([["", "", ""]]), size=tf.constant([2.0]),
    exclude_ids=tf.constant([["", "c02"]]))
print(json.dumps([answer["candidate_ids"].numpy()[0, 0].decode(), "scann" in sys.modules]))
"""
    kind = written.manifest.details["index"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(written.directory), kind],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    first, has_scann = json.loads(done.stdout.splitlines()[-1])
    expected = search(fakes.VECTORS[2], fakes.VECTORS, fakes.IDS, ["c02"], 1)[0]
    assert first == expected[0]
    assert has_scann == (kind == "scann")


def test_a_corpus_smaller_than_k(tmp_path):
    index = fakes.fake_index("brute_force")
    small = replace(index, corpus=Corpus.of(["only"], fakes.VECTORS[:1]))
    written = fakes.write_fake_bundle(tmp_path / "small", index=small)
    outputs = load_bundle(written.directory).call("serving_default", fakes.requests(1, [[]]))
    assert outputs["candidate_ids"].tolist() == [[b"only"]]
    assert written.manifest.counts["k"] == 1


def test_versions_grow_and_old_ones_go(tmp_path):
    bundle = tmp_path / "b"
    written = [fakes.write_fake_bundle(bundle) for _ in range(3)]
    versions = [bundle.version for bundle in written]
    assert versions == sorted(set(versions))
    assert list_versions(bundle) == versions[1:]
    assert written[2].removed_versions == [versions[0]]


def test_a_refused_model_is_not_published(tmp_path):
    def refuse(model):
        raise BundleError("no: fix it")

    with pytest.raises(BundleError, match="no: fix it"):
        fakes.write_fake_bundle(tmp_path / "b", check=refuse)
    assert list_versions(tmp_path / "b") == []


@pytest.mark.parametrize("bad", ["", "a\nb", "a\r"])
def test_ids_that_cannot_be_served(tmp_path, bad):
    index = fakes.fake_index("brute_force")
    ids = np.array([bad, "x"], object)
    broken = replace(index, corpus=Corpus(ids, ids, {}, fakes.VECTORS[:2]))
    with pytest.raises(BundleError, match="must not be empty or contain a line break"):
        fakes.write_fake_bundle(tmp_path / "b", index=broken)


def test_a_changed_file_is_noticed_before_loading(tmp_path):
    written = fakes.write_fake_bundle(tmp_path / "b")
    titles = written.directory / "titles.parquet"
    titles.write_bytes(titles.read_bytes() + b"x")
    with pytest.raises(CorruptArtifact, match=r"titles\.parquet: does not match its checksum"):
        load_bundle(tmp_path / "b")
    (written.directory / "manifest.json").unlink()
    with pytest.raises(MissingArtifact, match="no finished 'bundle' artifact"):
        load_bundle(tmp_path / "b")


def test_its_own_warm_up_requests_run(written, loaded):
    path = written.directory / WARMUP_PATH
    seen = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        outputs = loaded.call(request.model_spec.signature_name, inputs)
        seen.append((request.model_spec.signature_name, len(outputs["model_version"])))
    assert sorted(seen) == sorted(
        (name, size) for name in loaded.model.signatures for size in (1, 4)
    )
