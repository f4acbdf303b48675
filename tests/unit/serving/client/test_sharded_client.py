import time
from contextlib import ExitStack

import pytest

from serving.client.client import Recommendations
from serving.client.sharded_client import ShardedClient
from tests.unit.serving.fake_endpoint import FakeModel, grpc_endpoint
from tfrs_twotower.errors import EndpointError


@pytest.fixture
def shards():
    return [
        FakeModel((("d", 4.0), ("a", 1.0)), "7-abc", k=4),
        FakeModel((("c", 3.0),), "7-abc", k=4),
        FakeModel((("b", 2.0), ("e", 1.5)), "9-abc", k=4),
    ]


@pytest.fixture
def client(shards):
    with ExitStack() as stack:
        targets = [stack.enter_context(grpc_endpoint(model)) for model in shards]
        yield stack.enter_context(ShardedClient(targets, k=4, timeout_s=5.0))


def test_all_shards_are_asked_the_same(client, shards):
    recommendations = client.recommend(
        {"user_id": ["u1", "u2"], "age": [1, 2]}, exclude_ids=[["x"], []]
    )
    assert (
        recommendations
        == [Recommendations(["d", "c", "b", "e"], [4.0, 3.0, 2.0, 1.5], "7-abc")] * 2
    )
    assert shards[0].requests == shards[1].requests == shards[2].requests


def test_shards_of_different_exports_are_refused(client, shards):
    shards[1].version = "7-def"
    with pytest.raises(EndpointError, match=r"different exports: .*/shop 7-abc, .*/shop 7-def"):
        client.recommend({"user_id": ["u"]})


def test_ties_go_by_id_and_short_shards_are_filled_up_from_the_others(client, shards):
    shards[0].corpus, shards[1].corpus = (("d", 2.0), ("b", 2.0)), ()
    shards[2].corpus = (("c", 2.0), ("a", 1.0), ("e", 0.5))
    (recommendation,) = client.recommend({"user_id": ["u"]})
    assert recommendation.candidate_ids == ["b", "c", "d", "a"]  # all 2.0 but the last


def test_lists_as_long_as_the_shards_at_most(shards):
    with ExitStack() as stack:
        targets = [stack.enter_context(grpc_endpoint(model)) for model in shards]
        client = stack.enter_context(ShardedClient(targets, k=5, timeout_s=5.0))
        with pytest.raises(EndpointError, match=r"k=5 was requested; these shards answer with 4"):
            client.recommend({"user_id": ["u"]})


def test_a_dead_shard_is_named_and_no_other_is_asked_twice(shards):
    with ExitStack() as stack:
        targets = [stack.enter_context(grpc_endpoint(model)) for model in shards[:2]]
        dead = "grpc://localhost:9/shop"
        client = stack.enter_context(ShardedClient([*targets, dead], k=4, timeout_s=1.0))
        started = time.monotonic()
        with pytest.raises(EndpointError, match="localhost:9, model 'shop': ") as caught:
            client.recommend({"user_id": ["u"]})
        assert time.monotonic() - started < 1.5
    assert caught.value.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert [len(model.requests) for model in shards[:2]] == [1, 1]


def test_a_slow_shard_does_not_outlast_the_deadline(client, shards):
    client.recommend({"user_id": ["u"]})
    answer = shards[0].predict
    shards[0].predict = lambda *arguments: time.sleep(1.0) or answer(*arguments)
    client._timeout_s = 0.2
    started = time.monotonic()
    with pytest.raises(EndpointError, match="DEADLINE_EXCEEDED"):
        client.recommend({"user_id": ["u"]})
    assert time.monotonic() - started < 0.9


@pytest.mark.parametrize(
    "shards", [(0, 2), (0, 1, 1), (0, 1, 3)], ids=["one too few", "one twice", "another set"]
)
def test_targets_that_are_not_all_shards(shards):
    targets = [f"grpc://h:1/m-shard-{number:05d}-of-00003" for number in shards]
    with pytest.raises(EndpointError, match="expected every shard of one bundle once: m-shard-000"):
        ShardedClient(targets, k=4)


def test_a_shard_that_fails_fails_the_request(client, shards):
    shards[2].failures = ["RESOURCE_EXHAUSTED"]
    with pytest.raises(EndpointError, match="told to be RESOURCE_EXHAUSTED"):
        client.recommend({"user_id": ["u"]})


def test_shards_that_catch_up_in_time_are_asked_again(client, shards):
    shards[1].version = "7-def"
    answer = shards[1].predict

    def predict(*arguments):
        outputs = answer(*arguments)
        shards[1].version = "7-abc"
        return outputs

    shards[1].predict = predict
    assert client.recommend({"user_id": ["u"]})[0].candidate_ids == ["d", "c", "b", "e"]
    assert len(shards[1].requests) == 2
