"""What runs in which order, what is shared, and what a failure says, without training."""

import re

import pytest

from pipelines.comparing import comparing
from pipelines.comparing.planned_runs import load_plan
from pipelines.comparing.seed_runs import ProcessExit, SeedRun, execute
from pipelines.progress import SilentReporter
from pipelines.stages.context import only_run_in
from tests.unit.evaluation.comparison.planted_runs import run_result
from tests.unit.pipelines.comparing.documents import grid, write_documents
from tfrs_twotower import artifacts
from tfrs_twotower.errors import ComparisonError, UnsupportedEnvironment, WorkdirError
from tfrs_twotower.evaluation.comparison.comparing_runs import compare_runs
from tfrs_twotower.evaluation.report import rendering


class Recorder(SilentReporter):
    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)


@pytest.fixture
def plan(tmp_path):
    directory = tmp_path / "documents"
    directory.mkdir()
    write_documents(directory)
    return load_plan([grid(directory, {"a": {}, "b": {}})])


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "work"
    root.mkdir()
    return root


@pytest.fixture
def ran(monkeypatch):
    """Seeds that ran; `exits` says how they ended, `finished` which of them have run before."""

    class Ran(list):
        exits = {}
        finished = set()
        offered = {}

    ran = Ran()

    def fake(seed_run, listen):
        ran.append((seed_run.run.name, seed_run.seed))
        listen("[1/4] preprocess")
        return ran.exits.get((seed_run.run.name, seed_run.seed), ProcessExit(0, ()))

    def offer(seed_run, others):
        ran.offered[seed_run.workdir] = list(others)

    monkeypatch.setattr(comparing, "execute", fake)
    monkeypatch.setattr(comparing, "reuse_from", offer)
    monkeypatch.setattr(
        SeedRun, "is_finished", lambda self: (self.run.name, self.seed) in ran.finished
    )
    monkeypatch.setattr(
        comparing,
        "compare_seed_runs",
        lambda seed_runs, root: {"workdirs": [seed_run.workdir for seed_run in seed_runs]},
    )
    monkeypatch.setattr(
        comparing,
        "write_comparison",
        lambda document, root, *about_the_page: (root / "written").touch(),
    )
    return ran


def test_every_seed_runs_and_is_offered_what_others_of_its_data_have(plan, root, ran):
    document = comparing.compare(plan, 2, root, SilentReporter())
    assert ran == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert document["workdirs"][2] == root / "runs" / "b" / "seed-0"
    assert all(set(others) == set(document["workdirs"]) for others in ran.offered.values())
    assert list(ran.offered) == document["workdirs"]


def test_finished_seeds_are_not_run_again(plan, root, ran):
    ran.finished = {("a", 0), ("a", 1), ("b", 0)}
    reporter = Recorder()
    comparing.compare(plan, 2, root, reporter)
    assert ran == [("b", 1)]
    assert reporter.messages[0] == "[1/4] a, seed 0: up to date"
    assert reporter.messages[3].startswith("[4/4] b, seed 1: done in ")


def test_the_remaining_time_is_estimated(plan, root, ran):
    reporter = Recorder()
    comparing.compare(plan, 1, root, reporter)
    assert reporter.messages[0].endswith(" left")
    assert not reporter.messages[1].endswith(" left")


def test_a_failed_run_stops_and_the_others_go_on(plan, root, ran):
    ran.exits[("a", 0)] = ProcessExit(1, ("[2/4] train", "twotower: the loss is NaN"))
    with pytest.raises(ComparisonError, match="run a, seed 0: exit code 1") as error:
        comparing.compare(plan, 2, root, SilentReporter())
    assert ran == [("a", 0), ("b", 0), ("b", 1)]
    assert "\n  twotower: the loss is NaN\nTo repeat it alone: twotower run " in str(error.value)
    assert "finished seeds are not trained again" in str(error.value)
    assert not (root / "written").exists()


def test_a_wrong_environment_stops_everything(plan, root, ran):
    ran.exits[("a", 0)] = ProcessExit(2, ("twotower: the disk is full",))
    with pytest.raises(UnsupportedEnvironment, match="the disk is full"):
        comparing.compare(plan, 2, root, SilentReporter())
    assert ran == [("a", 0)]


def test_a_killed_seed_is_told_as_such():
    assert ProcessExit(-9, ()).in_words == "killed by SIGKILL (was the memory full?)"
    assert ProcessExit(-15, ()).in_words == "killed by SIGTERM"


def test_one_comparison_at_a_time(plan, root, ran):
    with only_run_in(root), pytest.raises(WorkdirError, match="another run is working here"):
        comparing.compare(plan, 1, root, SilentReporter())


def test_a_process_that_fails_is_heard(plan, root):
    """Without a run.yaml, the real command says so and exits with 1."""
    heard = []
    end = execute(SeedRun(plan[0], 0, root / "runs" / "a"), heard.append)
    assert end.code == 1
    assert heard == list(end.last_lines)
    assert "there is no such file" in heard[0]


def test_pages_link_to_each_other_and_reports_stay_whole(tmp_path):
    root, run = tmp_path / "work", run_result("base", num_seeds=2)
    report = root / run.directory / "seed-0" / "report"
    staging = artifacts.staging_directory(report)
    (staging / "index.html").write_text('<ul class="links"></ul>')
    (staging / "evaluation.json").write_text("{}")
    lineage = {"spec_fingerprint": "s", "config_fingerprint": "c", "parents": {"index": "i"}}
    written = artifacts.commit(
        staging, report, kind="report", **lineage, counts={"systems": 2}, details={"leakage": "no"}
    )
    assert not comparing.link_back(root / run.directory / "seed-1" / "report", root)
    for _ in range(2):
        assert comparing.link_back(report, root)
    page = (report / "index.html").read_text()
    (address,) = re.findall('href="([^"]+)"', page)
    assert (report / address).resolve() == root / "index.html"
    manifest = artifacts.read_manifest(report, "report")
    artifacts.verify_files(report, manifest)
    unchanged = {"files", "packages"}
    assert manifest.model_dump(exclude=unchanged) == written.model_dump(exclude=unchanged)

    document = compare_runs([run])
    origin = rendering.Origin("twotower compare", {"base": "base.yaml"}, 1_795_693_509.0)
    comparing.write_comparison(document, root, origin, {"base": [0]})
    page = (root / "index.html").read_text()
    for address in re.findall('href="([^#][^"]*)"', page):
        assert (root / address).is_file(), address
    assert "runs/base/seed-0/report/index.html" in page
    assert "seed-1" not in page
    assert "<code>twotower compare</code>" in page
    assert "2026-11-26 11:45 UTC" in page
