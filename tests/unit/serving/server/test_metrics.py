"""The metrics page has TensorFlow Serving's names, labels and limits, whatever the library says."""

import asyncio
import re

import pytest

from serving.server.metrics import Metrics
from serving.server.refusals import Refusal, not_found

TYPES = {
    ":tensorflow:serving:request_count": "counter",
    ":tensorflow:serving:request_latency": "histogram",
    ":tensorflow:serving:runtime_latency": "histogram",
    ":tensorflow:serving:request_example_counts": "histogram",
    ":tensorflow:serving:request_example_count_total": "counter",
    ":tensorflow:serving:model_warmup_latency": "histogram",
    ":tensorflow:serving:batching_session:queuing_latency": "histogram",
    ":tensorflow:serving:batching_session:wrapped_run_count": "counter",
    ":tensorflow:cc:saved_model:load_attempt_count": "counter",
    ":tensorflow:cc:saved_model:load_latency": "counter",
    ":twotower:serving:version": "gauge",
    ":twotower:serving:index_age_seconds": "gauge",
}


def page_of(metrics, versions=()):
    return metrics.page(versions)


def test_names_and_types():
    metrics = Metrics()
    metrics.request_count.labels("Shop", "OK").inc()
    metrics.request_example_count_total.labels("Shop").inc(3)
    metrics.wrapped_run_count.inc()
    metrics.load_attempt_count.labels("/m", "success").inc()
    metrics.load_latency.labels("/m").inc(7)
    page = page_of(metrics)
    assert dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE)) == TYPES
    assert set(re.findall(r"^# HELP (\S+)", page, re.MULTILINE)) == set(TYPES)
    for line in (
        ':tensorflow:serving:request_count{model_name="Shop",status="OK"} 1.0',
        ':tensorflow:serving:request_example_count_total{model="Shop"} 3.0',
        ":tensorflow:serving:batching_session:wrapped_run_count 1.0",
        ':tensorflow:cc:saved_model:load_attempt_count{model_path="/m",status="success"} 1.0',
        ':tensorflow:cc:saved_model:load_latency{model_path="/m"} 7.0',
    ):
        assert f"\n{line}\n" in page
    assert "_created" not in page
    assert page.count("_total") == page.count("request_example_count_total")


def test_limits_of_buckets():
    metrics = Metrics()
    latency = metrics.request_latency.labels("Shop", "Predict", "GRPC")
    for microseconds in (10.0, 11.0, 1e12):
        latency.observe(microseconds)
    metrics.request_example_counts.labels("Shop").observe(3)
    page = page_of(metrics)
    labels = 'API="Predict",entrypoint="GRPC",'
    counts = re.findall(
        rf'request_latency_bucket{{{labels}le="(.*)",model_name="Shop"}} (\d+)\.0', page
    )
    assert counts[:3] == [("10", "1"), ("18", "2"), ("32.4", "2")]
    assert counts[-2:] == [("1.47476e+09", "2"), ("+Inf", "3")]
    assert len(counts) == 34
    rows = re.findall(r'request_example_counts_bucket{le="(.*)",model="Shop"} (\d+)\.0', page)
    assert rows[:3] == [("1", "0"), ("2", "0"), ("4", "1")]
    assert rows[-2:] == [("16384", "1"), ("+Inf", "1")]


def test_data_in_a_label_is_left_alone():
    name = "\n:tensorflow:serving:request_count_total x"
    page = page_of(Metrics(), [(name, 3, 'a"b', 0.0)])
    escaped = r"\n:tensorflow:serving:request_count_total x"
    assert rf'version{{model_name="{escaped}",model_version="a\"b",version="3"}} 3.0' in page


def test_a_version_that_no_longer_serves_leaves_the_page():
    metrics = Metrics()
    assert 'version="3"' in page_of(metrics, [("Shop", 3, "3-a", 0.0)])
    page = page_of(metrics, [("Shop", 4, "4-a", 0.0)])
    assert 'version="4"' in page
    assert 'version="3"' not in page


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (not_found("no such model"), Refusal, "NOT_FOUND"),
        (ValueError("a\nb"), Refusal, "INTERNAL"),
        (asyncio.CancelledError(), asyncio.CancelledError, "CANCELLED"),
    ],
)
def test_a_request_that_fails_is_counted_with_its_code(error, raised, status):
    metrics = Metrics()

    def fail():
        with metrics.predicting("REST", "predict") as running:
            running.model_name = "Shop"
            raise error

    with pytest.raises(raised) as caught:
        fail()
    if status == "INTERNAL":
        assert caught.value.message == "ValueError: a"
    page = page_of(metrics)
    assert f':tensorflow:serving:request_count{{model_name="Shop",status="{status}"}} 1.0' in page
    assert "request_latency_count{" not in page, "only answered requests are timed"


def test_an_answered_request_is_timed_under_its_word_in_the_path():
    metrics = Metrics()
    with metrics.predicting("REST", "predict") as running:
        running.model_name = "Shop"
    page = page_of(metrics)
    assert 'request_latency_count{API="predict",entrypoint="REST",model_name="Shop"} 1.0' in page
