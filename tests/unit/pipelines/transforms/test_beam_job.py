import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo

from pipelines.transforms import batches, beam_job
from pipelines.transforms.beam_job import parse_beam_options, run_pipeline
from pipelines.transforms.watched_workers import WatchedWorker
from tfrs_twotower.errors import ConfigError, EmbeddingError

TABLE = pa.table({"n": [7] * 10_000})


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


class NoTables:
    """The metrics of a runner that keeps none: their tables are None."""

    _counters = _distributions = _gauges = None

    def query(self, _):
        return {"counters": list(self._counters)}


class Unset:
    def query(self, _):
        return {"counters": None}


class Raises:
    def query(self, _):
        raise NotImplementedError("no metrics here")


@pytest.mark.parametrize("metrics", [NoTables, Unset, Raises, lambda: None])
def test_a_runner_without_counters_has_none(monkeypatch, metrics):
    monkeypatch.setattr(FnApiRunner, "run_pipeline", lambda *_: Finished(metrics()))
    assert run_pipeline(lambda p: p | beam.Create([1]), (), Silent(), "x") == {}


class Finished:
    def __init__(self, metrics):
        self.metrics = lambda: metrics

    def wait_until_finish(self):
        pass


def test_an_unknown_runner():
    with pytest.raises(ConfigError, match="Beam options '--runner=NoSuchRunner'") as caught:
        run_pipeline(lambda p: p, ("--runner=NoSuchRunner",), Silent(), "x")
    assert ".." not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--rnner=X"],
            r"'--rnner=X': .* no option '--rnner' \(did you mean '--runner'\?\)",
        ),
        (["--qqq", "3", "--streaming"], r"Beam has no option '--qqq'\. Allowed are"),
        (["stray"], "'stray' belongs to no option"),
        (["--direct_num_workers=a"], "--direct_num_workers: invalid int value: 'a'. Allowed are"),
        (["--runner"], "--runner: expected one argument"),
        (["--runner=FlinkRunner", "--paralelism=2"], "did you mean '--parallelism'"),
        *[
            ([f"--runner={name}"], rf"'--runner={name}': {name} is refused: it drops .* Leave")
            for name in ("DaskRunner", "dask", "apache_beam.runners.dask.dask_runner.DaskRunner")
        ],
    ],
)
def test_options_that_nobody_would_read(options, message, capfd):
    with pytest.raises(ConfigError, match=message):
        run_pipeline(lambda p: p, options, Silent(), "x")
    assert capfd.readouterr() == ("", "")


def test_a_job_server_may_know_more_options():
    options = parse_beam_options(["--runner=FlinkRunner", "--checkpointing_interval=60000"])
    kept = options.get_all_options(retain_unknown_options=True)
    assert kept["checkpointing_interval"] == "60000"


def test_what_a_dead_worker_is_asked_is_answered_with_its_end(monkeypatch):
    monkeypatch.setattr(WatchedWorker, "killed_by", "")
    worker = object.__new__(WatchedWorker)
    worker._worker_command_line, worker.worker_id = b"kill -9 $$", "w"
    worker.control_address, worker.provision_info = "localhost:1", ExtendedProvisionInfo()
    worker.control_conn = worker_handlers.ControlConnection()
    worker.start_worker()
    answer = worker.control_conn.push(
        beam_fn_api_pb2.InstructionRequest(instruction_id="bundle")
    ).get(timeout=10)
    assert answer.error == "Worker subprocess exited with return code -9"
    later = worker.control_conn.push(
        beam_fn_api_pb2.InstructionRequest(instruction_id="another")
    ).get(timeout=30)
    assert later.error == answer.error
    worker.close()
    worker.worker_thread.join(timeout=30)
    assert not worker.worker_thread.is_alive()
    failure = beam_job._killed_worker("embedding")
    assert str(failure).startswith("embedding: a worker process was killed (Worker subprocess exit")
    with pytest.raises(ZeroDivisionError):  # in a later run nothing was killed
        beam_job.run_pipeline(lambda _: 1 / 0, (), Silent(), "x")


@pytest.mark.parametrize(
    ("arguments", "compressed"),
    [
        ([], False),
        (["--direct_running_mode=multi_threading"], False),
        (["--direct_running_mode=multi_processing", "--direct_num_workers=2"], True),
        (["--runner=FlinkRunner"], True),
    ],
)
def test_only_what_leaves_the_process_is_compressed(arguments, compressed):
    """Ten thousand integers take 80,000 bytes, and next to nothing if they are all alike."""
    options = beam_job.parse_beam_options(arguments)
    with beam_job.packing(options):
        assert (len(batches.packed(TABLE)) < 10_000) == compressed
    with beam_job.packing(options, compress=True):
        assert len(batches.packed(TABLE)) < 10_000
    assert len(batches.packed(TABLE)) < 10_000


def test_a_job_packs_as_its_engine_needs_it(tmp_path):
    path = tmp_path / "packed"

    def build(pipeline):
        made = pipeline | beam.Create([1]) | beam.Map(lambda _: batches.packed(TABLE))
        return made | "Keep" >> beam.Map(path.write_bytes)

    beam_job.run_pipeline(build, [], Silent(), "packing")
    assert path.stat().st_size > 80_000
    beam_job.run_pipeline(build, [], Silent(), "packing", compress=True)
    assert path.stat().st_size < 10_000
    assert len(batches.packed(TABLE)) < 10_000
