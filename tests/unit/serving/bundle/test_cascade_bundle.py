"""A bundle of the whole cascade: what lies in it, and that its parts belong together."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.bundle.integrity import write_checksums
from serving.bundle.loading import load_bundle
from serving.bundle.parity import check_lists
from serving.bundle.query import ask
from serving.bundle.server_files import WARMUP_PATH
from serving.bundle.server_ops import check_bundle
from serving.graph.pre_ranking import select_candidates
from tests.unit.serving import fakes
from tests.unit.serving.fake_pre_ranker import LEXICAL_WEIGHTS, fake_pre_ranker
from tests.unit.serving.graph.test_cascade import ATTRIBUTES
from tfrs_twotower.artifacts import sha256_file
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import BundleError, CorruptArtifact

RAW = {
    "color": np.array([b"red", b""], object),
    "recent": np.array([[b"c03", b"c01", b""], [b"", b"", b""]], object),
    "size": np.array([4.0, 17.0], np.float32),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return fakes.write_fake_bundle(
        tmp_path_factory.mktemp("bundles") / "shop",
        pre_ranker=fake_pre_ranker(lexical=True),
        attributes=ATTRIBUTES,
        candidate_heads="int8",
    )


@pytest.fixture(scope="module")
def loaded(written):
    return load_bundle(written.directory)


def test_its_own_warm_up_requests_run(written, loaded):
    seen = []
    records = tf.data.TFRecordDataset(str(written.directory / WARMUP_PATH))
    for record in records.as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        outputs = loaded.call(request.model_spec.signature_name, inputs)
        seen.append((request.model_spec.signature_name, len(outputs["model_version"])))
    assert sorted(seen) == [(name, n) for name in sorted(loaded.model.signatures) for n in (1, 4)]
    assert "pre_ranking" in dict(seen)


def test_a_stock_server_has_its_operations(written):
    assert check_bundle(written.directory, "stock") == ()


def test_lists_are_those_of_index_and_pre_ranker(loaded):
    def check(pre_ranker, storage="int8", ids=fakes.IDS):
        corpus = Corpus(np.array(ids, object), np.array(ids, object), {}, fakes.VECTORS)
        index = replace(fakes.fake_index("brute_force"), corpus=corpus)
        release = fakes.fake_release(index=index, pre_ranker=pre_ranker, candidate_heads=storage)
        return check_lists(loaded, RAW, release)

    assert check(fake_pre_ranker(lexical=True)) <= 1e-5
    wrong = "answers differ from those of index and pre_ranker by .* do not belong together"
    with pytest.raises(BundleError, match=wrong):
        check(fake_pre_ranker(lexical=True), "float32")
    for place in (6, 8):  # the share of BM25, the last signal
        weights = [*LEXICAL_WEIGHTS]
        weights[place] += 0.1
        with pytest.raises(BundleError, match=wrong):
            check(fake_pre_ranker(weights=weights, lexical=True))
    with pytest.raises(BundleError, match=wrong):
        check(fake_pre_ranker(lexical=True), ids=fakes.IDS[::-1])
    with pytest.raises(BundleError, match=r"answers differ from those of index by"):
        check(None)


def test_restricts_of_a_person(loaded):
    answer = ask(loaded, {"size": "3"}, allow=["colour=red"], deny=["tags=a"])
    assert answer.candidate_ids
    assert set(answer.candidate_ids) <= {"c12", "c16", "c20", "c24"}


@pytest.mark.parametrize("part", ["pre_ranker", "attributes"])
def test_parts_of_another_corpus_are_not_built(tmp_path, part):
    rows = np.arange(24)
    parts = {
        "pre_ranker": select_candidates(fake_pre_ranker(), rows),
        "attributes": ATTRIBUTES.rows(rows),
    }
    with pytest.raises(BundleError, match=r"has 24 candidates, the index 25: .* not belong to one"):
        fakes.write_fake_bundle(tmp_path / "shop", **{part: parts[part]})


def test_a_model_of_another_version_is_not_loaded(written, tmp_path):
    """Its checksums are right: somebody put two versions together and wrote a manifest."""
    mixed = shutil.copytree(written.directory, tmp_path / "1")
    path = mixed / "manifest.json"
    manifest = json.loads(path.read_text())
    own = manifest["details"]["model_version"]
    manifest["details"]["model_version"] = "1-another"
    path.write_text(json.dumps(manifest))
    write_checksums(mixed)
    with pytest.raises(
        BundleError, match=f"answers with version {own}, its manifest states 1-another"
    ):
        load_bundle(mixed)


def test_a_part_of_another_version_is_not_loaded(written, tmp_path):
    """The variables (index, heads) of one version beside the graph and towers of another."""
    mixed = shutil.copytree(written.directory, tmp_path / "1")
    path = mixed / "variables" / "variables.data-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert sha256_file(path) != written.manifest.files[path.relative_to(mixed).as_posix()].sha256
    with pytest.raises(CorruptArtifact, match="does not match its checksum"):
        load_bundle(mixed)
