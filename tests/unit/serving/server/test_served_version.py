"""A version is loaded with its warm-up requests replayed; one that fails refuses the version."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.bundle.server_files import WARMUP_PATH
from serving.server import served_version
from serving.server.metrics import Metrics
from serving.server.served_version import load_version
from tests.fixtures.served_model import request_of, write_version
from tfrs_twotower.artifacts import seal
from tfrs_twotower.errors import BundleError


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return write_version(tmp_path_factory.mktemp("served") / "Shop", 1)


def log_of(request):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return log.SerializeToString()


def load_with_warmup(version, *records):
    """Loads a version whose warm-up requests are replaced by these, with a manifest that fits."""
    with tf.io.TFRecordWriter(str(version / WARMUP_PATH)) as writer:
        for record in records:
            writer.write(record)
    seal(
        version,
        kind="bundle",
        spec_fingerprint="spec",
        config_fingerprint="config",
        parents={},
        counts={"version": 1},
        details={"model_version": "1-served"},
    )
    return load(version)


def load(version, **options):
    """Loads a version that is not asked, so it needs no threads."""
    options = {"threads": None, "metrics": Metrics(), **options}
    return load_version("Shop", version, **options)


def test_a_version_is_loaded_with_its_signatures(version):
    loaded = load_with_warmup(version, log_of(request_of()))
    assert (loaded.model_name, loaded.version) == ("Shop", 1)
    assert sorted(loaded.signatures) == ["lengths", "picky", "query_embedding", "serving_default"]
    assert set(loaded.definitions.signature_def) >= set(loaded.signatures)
    assert loaded.batching is not None
    assert load(version, batching=False).batching is None


def test_a_version_without_warmup_requests_is_loaded(version):
    (version / WARMUP_PATH).rename(version / "elsewhere")
    try:
        seal(
            version, kind="bundle", spec_fingerprint="spec", config_fingerprint="config",
            parents={}, counts={"version": 1}, details={"model_version": "1-served"},
        )  # fmt: skip
        assert load(version).version == 1
    finally:
        (version / "elsewhere").rename(version / WARMUP_PATH)


def test_a_warmup_request_that_fails_refuses_the_version(version):
    good = log_of(request_of())
    for bad in (
        log_of(request_of("picky", inputs={"text": ["bad"]})),  # the graph refuses it
        log_of(request_of("rank")),  # no such signature
        log_of(request_of("picky", inputs={"text": [["bad"]]})),  # another shape
        b"\xff",
    ):
        with pytest.raises(BundleError, match=r"(?s)warm-up request 2 fails: .*Export the"):
            load_with_warmup(version, good, bad, good)


def test_too_many_warmup_requests_refuse_the_version(version, monkeypatch):
    monkeypatch.setattr(served_version, "_MAX_WARMUP_REQUESTS", 2)
    record = log_of(request_of())
    assert load_with_warmup(version, record, record).version == 1
    with pytest.raises(BundleError, match="warm-up request 3 fails: at most 2 are replayed"):
        load_with_warmup(version, record, record, record)
