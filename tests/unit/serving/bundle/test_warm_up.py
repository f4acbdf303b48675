"""Warm-up requests, read by the protos of the server."""

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.bundle.server_files import WARMUP_PATH
from serving.bundle.warm_up import write_warmup_requests
from serving.graph import signatures
from tests.fixtures.tiny import tiny_spec
from tfrs_twotower.data.raw_inputs import raw_signature


def test_warm_up_covers_every_signature_and_size_without_data(tmp_path):
    spec = tiny_spec()
    inputs = {
        "serving_default": {
            **raw_signature(spec.query.features),
            **signatures.list_inputs(restricts=True),
        },
        "serving_examples": signatures.example_inputs(),
    }
    assert write_warmup_requests(tmp_path, "tiny", inputs, [4, 1]) == 4
    seen = set()
    for record in tf.data.TFRecordDataset(str(tmp_path / WARMUP_PATH)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "tiny"
        tensors = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        assert set(tensors) == set(inputs[request.model_spec.signature_name])
        (size,) = {len(tensor) for tensor in tensors.values()}
        seen.add((request.model_spec.signature_name, size))
        for tensor in tensors.values():
            assert set(tensor.ravel().tolist()) <= {b"", 0}
    assert seen == {(name, size) for name in inputs for size in (1, 4)}
