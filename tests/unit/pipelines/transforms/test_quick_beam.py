"""The memory that tests give to Beam: the same answers as without."""

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, WorkerOptions
from apache_beam.transforms import core
from apache_beam.transforms.userstate import CombiningValueStateSpec, is_stateful_dofn

TOTAL = beam.DoFn.StateParam(CombiningValueStateSpec("total", VarIntCoder(), sum))


class Stateful(beam.DoFn):
    def process(self, element, seen=TOTAL):
        yield element


class Stateless(beam.DoFn):
    def process(self, element, seen=3):
        yield element


def test_it_is_at_work():
    assert core.get_function_args_defaults.__module__ == "tests.fixtures.quick_beam"


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
