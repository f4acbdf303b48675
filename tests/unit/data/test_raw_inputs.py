import numpy as np
import tensorflow as tf

from tfrs_twotower.data.raw_inputs import example_parser, raw_signature


def example(**features):
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def words(*values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def test_signature_has_the_shapes_of_the_spec(spec):
    signature = raw_signature(spec.query.features)
    found = {name: (s.dtype, s.shape.as_list()) for name, s in signature.items()}
    assert found == {
        "user_id": (tf.string, [None]),
        "segment": (tf.string, [None]),
        "interests": (tf.string, [None, 3]),
        "age": (tf.float32, [None]),
        "spend": (tf.float32, [None]),
        "tenure": (tf.float32, [None]),
        "bio": (tf.string, [None]),
        "history": (tf.string, [None, 6]),
        "event_time": (tf.int64, [None]),
    }
    assert all(s.name == name for name, s in signature.items())


def test_absent_features_are_missing_values(spec):
    raw = example_parser(spec.query.features)(tf.constant([example()]))
    assert raw["user_id"].numpy().tolist() == [b""]
    assert raw["interests"].numpy().tolist() == [[b"", b"", b""]]
    assert np.isnan(raw["age"].numpy()).all()
    assert raw["event_time"].numpy().tolist() == [-1]
    assert raw["history"].shape == [1, 6]


def test_lists_are_padded_and_cut(spec):
    serialized = [
        example(interests=words(b"a"), history=words(*[b"x%d" % i for i in range(9)])),
        example(interests=words(b"a", b"b", b"c", b"d")),
    ]
    raw = example_parser(spec.query.features)(tf.constant(serialized))
    assert raw["interests"].numpy().tolist() == [[b"a", b"", b""], [b"a", b"b", b"c"]]
    assert raw["history"].numpy()[0].tolist() == [b"x0", b"x1", b"x2", b"x3", b"x4", b"x5"]


def test_parsed_examples_fit_the_signature(spec):
    parse = tf.function(
        example_parser(spec.query.features), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    outputs = parse.get_concrete_function().structured_outputs
    for name, expected in raw_signature(spec.query.features).items():
        assert outputs[name].dtype == expected.dtype
        assert outputs[name].shape.as_list() == expected.shape.as_list()
