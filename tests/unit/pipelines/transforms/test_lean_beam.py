"""Beam with a memory gives the same answers; tables that stay in a process are not compressed."""

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, WorkerOptions
from apache_beam.transforms import core
from apache_beam.transforms.userstate import CombiningValueStateSpec, is_stateful_dofn

from pipelines.progress import SilentReporter
from pipelines.transforms import batches, beam_job, lean_beam

TOTAL = beam.DoFn.StateParam(CombiningValueStateSpec("total", VarIntCoder(), sum))


class Stateful(beam.DoFn):
    def process(self, element, seen=TOTAL):
        yield element


class Stateless(beam.DoFn):
    def process(self, element, seen=3):
        yield element


def test_it_is_at_work():
    assert core.get_function_args_defaults.__module__ == "pipelines.transforms.lean_beam"


def test_signatures_are_told_apart():
    for _ in range(2):
        assert is_stateful_dofn(Stateful())
        assert not is_stateful_dofn(Stateless())
        bound, free = Stateless().process, Stateless.process
        assert core.get_function_args_defaults(bound) == (["element", "seen"], [3])
        assert core.get_function_args_defaults(free) == (["self", "element", "seen"], [3])
        assert core.get_function_args_defaults(lambda one, two=2: one) == (["one", "two"], [2])


def test_views_of_options_share_what_is_set_and_nothing_else():
    first, second = (PipelineOptions(["--runner", "Prism", "--num_workers", "3"]) for _ in range(2))
    first.view_as(StandardOptions).runner = "Other"
    first.view_as(WorkerOptions).num_workers = 5
    assert first.view_as(StandardOptions).runner == "Other"
    assert first.get_all_options()["num_workers"] == 5
    assert second.view_as(StandardOptions).runner == "Prism"
    assert second.view_as(WorkerOptions).num_workers == 3
    assert PipelineOptions(["--streaming"]).view_as(StandardOptions).streaming
    assert not second.view_as(StandardOptions).streaming


TABLE = pa.table({"n": [7] * 10_000})


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
    with lean_beam.packing(beam_job.parse_beam_options(arguments)):
        assert (len(batches.packed(TABLE)) < 10_000) == compressed
    assert len(batches.packed(TABLE)) < 10_000


def test_a_job_packs_as_its_engine_needs_it(tmp_path):
    path = tmp_path / "packed"

    def build(pipeline):
        made = pipeline | beam.Create([1]) | beam.Map(lambda _: batches.packed(TABLE))
        return made | "Keep" >> beam.Map(path.write_bytes)

    beam_job.run_pipeline(build, [], SilentReporter(), "packing")
    assert path.stat().st_size > 80_000
    assert len(batches.packed(TABLE)) < 10_000
