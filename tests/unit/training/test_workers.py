"""What TF_CONFIG says; the training of two processes is in tests/e2e/test_workers_command.py."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.errors import ConfigError, TrainingError, WorkerLost
from tfrs_twotower.training import replicas, workers

TWO = ["a:1000", "b:1000"]


def config(cluster, **task):
    return json.dumps({"cluster": cluster, "task": task})


@pytest.mark.parametrize(
    ("text", "addresses", "index"),
    [
        (config({"worker": TWO}, type="worker", index=0), ("a:1000", "b:1000"), 0),
        (config({"worker": TWO}, type="worker", index=1), ("a:1000", "b:1000"), 1),
        (config({"worker": TWO, "chief": ["c:1"]}, type="worker", index=1), ("c:1", *TWO), 2),
        (config({"worker": TWO, "chief": ["c:1"]}, type="chief", index=0), ("c:1", *TWO), 0),
        (config({"worker": ["[::1]:90", "b:1"]}, type="worker", index=0), ("[::1]:90", "b:1"), 0),
    ],
)
def test_the_chief_comes_first(monkeypatch, text, addresses, index):
    monkeypatch.setenv("TF_CONFIG", text)
    cluster = workers.find_cluster()
    assert (cluster.addresses, cluster.index) == (addresses, index)
    assert cluster.is_chief == (index == 0)


@pytest.mark.parametrize("text", ["", " ", "{}", config({"worker": ["a:1"]}, type="worker")])
def test_one_process_is_no_cluster(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    assert workers.find_cluster() is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{'cluster'", "is no JSON of a cluster"),
        ("[1]", "is no JSON of a cluster"),
        (config({"worker": 3}), "is no JSON of a cluster"),
        (config({"worker": TWO, "ps": ["c:1"]}), "names ps; only chief and worker train in step"),
        (config({"worker": ["a:1", "b"]}), r"no HOST:PORT or not distinct: \['b'\]"),
        (config({"worker": ["http://a:1", "b:1"]}), r"distinct: \['http://a:1'\]"),
        (config({"worker": ["a:1", "a:1"]}), r"distinct: \['a:1', 'a:1'\]"),
        (config({"worker": TWO, "chief": ["c:1", "d:1"]}), "names 2 chiefs"),
        (config({"worker": TWO}, type="worker", index=2), "task 2 of type 'worker', and names 2"),
        (config({"worker": TWO}, type="worker", index="0"), "task '0' of type 'worker'"),
        (config({"worker": TWO}, type="chief", index=0), "task 0 of type 'chief'"),
    ],
)
def test_a_broken_variable_is_one_clear_error(monkeypatch, text, problem):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match=rf"^TF_CONFIG .*{problem}.* Expected is .*HOST:PORT"):
        workers.find_cluster()


class OneOfTwo:
    """The strategy of one process, whose other one gives what `given` says."""

    def __init__(self, index, given):
        self.index, self.given, self.num_replicas_in_sync = index, list(given), 2

    def experimental_distribute_values_from_function(self, function):
        class Context:
            replica_id_in_sync_group = self.index

        return function(Context)

    def reduce(self, _, values, axis):
        assert axis is None
        return values + tf.constant(self.given.pop(0), values.dtype)


def team(monkeypatch, index, given=()):
    monkeypatch.setenv("TF_CONFIG", config({"worker": TWO}, type="worker", index=index))
    return workers.Team(OneOfTwo(index, given))


def test_each_process_reads_its_part_of_a_batch(monkeypatch):
    positions = np.array([7, 3, 9, 1])
    assert team(monkeypatch, 0).own_part(positions).tolist() == [7, 3]
    assert team(monkeypatch, 1).own_part(positions).tolist() == [9, 1]
    assert workers.Team(None).own_part(positions).tolist() == [7, 3, 9, 1]


def test_what_the_chief_knows_counts(monkeypatch):
    text = json.dumps({"step": 5, "recall@10": 0.5}).encode()
    other = team(monkeypatch, 1, given=[[len(text)], list(text), [1.5, -2.0]])
    assert not other.keeps
    assert other.facts_of_chief(None) == {"step": 5, "recall@10": 0.5}
    weights = tf.Variable([9.0, 9.0])
    other.take_from_chief([weights])
    assert weights.numpy().tolist() == [1.5, -2.0]
    chief = team(monkeypatch, 0, given=[[0], [0], [0.0, 0.0]])
    assert chief.keeps
    assert chief.facts_of_chief(7) == 7
    chief.take_from_chief([weights])
    assert weights.numpy().tolist() == [1.5, -2.0]


def test_alone_nothing_is_shared():
    alone = workers.Team(None)
    assert alone.keeps
    assert alone.facts_of_chief(None) is None
    alone.take_from_chief([None])


def test_the_end_of_another_process_has_a_name_of_its_own(monkeypatch):
    def fail():
        with workers.watched():
            raise tf.errors.UnavailableError(None, None, "Socket closed")

    with pytest.raises(tf.errors.UnavailableError):
        fail()
    monkeypatch.setenv("TF_CONFIG", config({"worker": TWO}, type="worker", index=1))
    with pytest.raises(WorkerLost, match=r"\(a:1000, b:1000\); this one is b:1000\. Start the"):
        fail()


def test_a_batch_that_all_replicas_cannot_divide(monkeypatch):
    training = tiny_run_config().training.model_copy(update={"batch_size": 16})
    assert replicas.with_all_replicas(training, None) is training
    assert replicas.with_all_replicas(training, OneOfTwo(0, ())).replicas == 2
    odd = training.model_copy(update={"batch_size": 15})
    with pytest.raises(TrainingError, match="batch_size is 15, which 2 replicas cannot divide"):
        replicas.with_all_replicas(odd, OneOfTwo(0, ()))
