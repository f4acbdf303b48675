"""Known queries as Examples, read back by the parser of the signature. Without TFX."""

import math

import numpy as np
import tensorflow as tf

from pipelines.tfx_dag.request_examples import example_of
from tests.unit.data.test_known_queries import spec  # noqa: F401  (a fixture)
from tfrs_twotower.data.raw_inputs import example_parser, raw_signature

NOW = 1_700_000_000
ROWS = [
    {"_query_id": "K1", "_seen": ["b", "c"], "town": "Ås", "topics": ["x", "y"], "age": 3.5,
     "history": ["c", "b"], "hour": None},
    {"_query_id": "K2", "_seen": [], "town": None, "topics": [], "age": None, "history": [],
     "hour": None},
]  # fmt: skip


def test_the_parser_of_the_signature_gets_the_values_back(spec):  # noqa: F811
    examples = [example_of(row, spec, NOW) for row in ROWS]
    parsed = example_parser(raw_signature(spec.query.features))(tf.constant(examples))
    assert parsed["town"].numpy().tolist() == ["Ås".encode(), b""]
    assert parsed["topics"].numpy()[:, :2].tolist() == [[b"x", b"y"], [b"", b""]]
    assert parsed["history"].numpy()[:, :3].tolist() == [[b"c", b"b", b""], [b"", b"", b""]]
    age = parsed["age"].numpy()
    assert age[0] == np.float32(3.5)
    assert math.isnan(age[1])
    assert parsed["hour"].numpy().tolist() == [NOW, NOW]


def test_what_was_seen_is_excluded(spec):  # noqa: F811
    found = [
        tf.train.Example.FromString(example_of(row, spec, NOW)).features.feature for row in ROWS
    ]
    assert list(found[0]["exclude_ids"].bytes_list.value) == [b"b", b"c"]
    assert "exclude_ids" not in found[1]
    assert not {"_query_id", "_seen"} & {*found[0], *found[1]}
