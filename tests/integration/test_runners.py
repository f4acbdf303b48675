"""The same bytes from every Beam engine, and a complete artifact after one that failed midway.

`make test-runners` runs all of it; the default suite leaves out the engines that it would have to
fetch or start, and of the tests with several processes all but one.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PortableOptions, WorkerOptions
from apache_beam.transforms import environments

from pipelines import shipped_files
from pipelines.stages import embed
from pipelines.transforms import beam_job, embedding
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tests.integration import preprocess_world as world
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.errors import SystemFailure

pytestmark = pytest.mark.integration
PRISM = Path(__file__).parents[2] / "build" / "engines" / "prism"
TWO_PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
DATAFLOW = "pipelines/configs/dataflow_options.txt"
OF_EMBED = {"embed": {"batch_size": 7, "num_shards": 3}}
KILLED = "KILLED_ONCE"
STARTS_IN_S = 60


FETCHED = [pytest.param(name, marks=pytest.mark.runners) for name in ("prism", "portable")]


@pytest.fixture(scope="module")
def engine(request, tmp_path_factory):
    """Beam options of an engine that is ready."""
    if request.param == "multi_process":
        yield TWO_PROCESSES
    elif request.param == "prism":
        assert PRISM.exists(), "`make test-runners` builds Prism"
        yield ("--runner=PrismRunner", f"--prism_location={PRISM}", "--environment_type=LOOPBACK")
    else:
        yield from job_service(tmp_path_factory.mktemp("jobs"))


def job_service(directory):
    """Beam's own job service in a process of its own, for PortableRunner."""
    port = directory / "port"
    command = ["-m", "apache_beam.runners.portability.local_job_service_main"]
    with subprocess.Popen(
        [sys.executable, *command, "--port_file", port, "--staging_dir", directory / "staged"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for(port.exists)
            yield (
                "--runner=PortableRunner",
                f"--job_endpoint=localhost:{port.read_text()}",
                "--environment_type=LOOPBACK",
            )
        finally:
            process.terminate()


def wait_for(condition):
    """Waits until the condition holds, and returns what it gave."""
    deadline = time.monotonic() + STARTS_IN_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    return found


def files_of(directory):
    """The bytes of every file of an artifact except its manifest, which has durations."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tables")
    world.write_tables(directory, world.random_events(9))
    world.run(directory, workdir="in_memory")
    return directory


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A run whose embeddings come from the in-memory engine."""
    context = tiny_context(tmp_path_factory.mktemp("in_memory"), **OF_EMBED)
    write_tiny_model(context)
    embed.run(context)
    return context


@pytest.mark.parametrize(
    "engine", [pytest.param("multi_process", marks=pytest.mark.slow), *FETCHED], indirect=True
)
def test_preprocess_writes_the_same_bytes(engine, tables, tmp_path):
    manifest = world.run(tables, workdir=tmp_path, beam_options=engine)
    expected = tables / "in_memory" / "preprocessed"
    assert files_of(tmp_path / "preprocessed") == files_of(expected)
    assert manifest.fingerprint == read_manifest(expected, "preprocessed").fingerprint


@pytest.mark.parametrize("engine", ["multi_process", *FETCHED], indirect=True)
def test_embed_writes_the_same_bytes(engine, embedded, tmp_path):
    again = tiny_context(tmp_path, engine, **OF_EMBED)
    write_tiny_model(again)
    manifest = embed.run(again)
    expected = embedded.layout.embeddings
    assert files_of(again.layout.embeddings) == files_of(expected)
    assert manifest.fingerprint == read_manifest(expected, "embeddings").fingerprint


def die_once():
    """Kills this process, and no other one after it."""
    try:
        os.close(os.open(os.environ[KILLED], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class DiesEmbedding(embedding._EmbedShard):
    """Embeds; the first process that has embedded a part of a shard is killed."""

    def process(self, element):
        for part in super().process(element):
            yield part
            die_once()


def die_writing(job, shard, parts):
    """Writes; the first process is killed before its file has its name."""
    path = job.output_dir / f".{job.name}-{shard:05d}-of-{job.num_shards:05d}.parquet.partial"
    path.write_bytes(b"PAR1")
    die_once()
    return WRITE(job, shard, parts)


WRITE = embedding._write_shard


@pytest.mark.runners
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("where", "replacement"), [("_EmbedShard", DiesEmbedding), ("_write_shard", die_writing)]
)
def test_a_killed_worker_ends_the_stage_and_the_next_run_is_complete(
    embedded, tmp_path, monkeypatch, where, replacement
):
    context = tiny_context(tmp_path, TWO_PROCESSES, **OF_EMBED)
    write_tiny_model(context)
    with monkeypatch.context() as patch:
        patch.setenv(KILLED, str(tmp_path / "killed"))
        patch.setattr(embedding, where, replacement)
        with pytest.raises(SystemFailure, match=r"^embedding: a worker process was killed .*again"):
            embed.run(context)
    assert not context.layout.embeddings.exists()
    # What another run, with more shards, could have left as well.
    half = tmp_path / ".embeddings.partial"
    whole = embedded.layout.embeddings / "candidates-00000-of-00003.parquet"
    shutil.copy(whole, half / "candidates-00000-of-00004.parquet")
    embed.run(replace(context, beam_options=()))
    assert files_of(context.layout.embeddings) == files_of(embedded.layout.embeddings)


class Translated(Exception):
    """Stops a stage where its job would have started."""


@pytest.mark.parametrize("stage", ["preprocess", "embed"])
def test_the_jobs_translate_with_the_options_for_dataflow(
    stage, tables, embedded, tmp_path, monkeypatch
):
    text = shipped_files.shipped_files()[DATAFLOW].read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    options = beam_job.parse_beam_options(lines)
    assert options.get_all_options(drop_default=True, retain_unknown_options=True).keys() >= {
        line.split("=")[0].strip("-") for line in lines if "hint" not in line and "no_" not in line
    }
    protos = []

    def translate(build, *_, **__):
        pipeline = beam.Pipeline(runner="FnApiRunner", options=options)
        build(pipeline)
        portable = options.view_as(PortableOptions)
        portable.environment_config = options.view_as(WorkerOptions).sdk_container_image
        image = environments.DockerEnvironment.from_options(portable)
        protos.append(pipeline.to_runner_api(default_environment=image))
        raise Translated

    monkeypatch.setattr(beam_job, "run_pipeline", translate)
    start = {
        "preprocess": lambda: world.run(tables, workdir=tmp_path),
        "embed": lambda: embed.run(embedded),
    }
    with pytest.raises(Translated):
        start[stage]()
    (proto,) = protos
    for environment in proto.components.environments.values():
        assert environment.urn == "beam:env:docker:v1"
        assert b"IMAGE" in environment.payload
        assert environment.resource_hints["beam:resources:min_ram_bytes:v1"] == b"8000000000"
    again = beam.Pipeline.from_runner_api(proto, "FnApiRunner", options)
    assert len(again.to_runner_api().components.transforms) >= 10
