import apache_beam as beam
import pytest

from pipelines.transforms.running import run_pipeline
from tfrs_twotower.errors import ConfigError, EmbeddingError


class Silent:
    def progress(self, description, done, total, detail=""):
        pass


def fail(element):
    raise EmbeddingError(f"candidate {element}: its norm is zero.\nLook at it.")


def test_an_error_of_a_worker_keeps_its_type_and_text():
    with pytest.raises(EmbeddingError, match=r"^candidate 7: its norm is zero.\nLook at it.$"):
        run_pipeline(lambda p: p | beam.Create([7]) | beam.Map(fail), (), Silent(), "fail")


def test_other_errors_come_through():
    with pytest.raises(Exception, match="division by zero"):
        run_pipeline(lambda p: p | beam.Create([0]) | beam.Map(lambda x: 1 / x), (), Silent(), "x")


def test_counters_come_back():
    def count(element):
        beam.metrics.Metrics.counter("ours", "elements").inc()
        return element

    counters = run_pipeline(lambda p: p | beam.Create([1, 2]) | beam.Map(count), (), Silent(), "x")
    assert counters == {"elements": 2}


def test_an_unknown_runner():
    with pytest.raises(ConfigError, match="Beam options '--runner=NoSuchRunner'"):
        run_pipeline(lambda p: p, ("--runner=NoSuchRunner",), Silent(), "x")
