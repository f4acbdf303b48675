import json

import pytest

from pipelines.comparing import comparing
from tests.unit.evaluation.comparison.planted_runs import run_result
from tests.unit.pipelines.comparing.documents import write_documents
from tfrs_twotower.evaluation.comparison.comparing_runs import compare_runs


@pytest.fixture
def planned(monkeypatch):
    """What would have been compared; its result is planted."""
    calls = []

    def compare(runs, num_seeds, root, reporter, command):
        calls.append((runs, num_seeds, root))
        document = [run_result("base"), run_result("better", 0.1, label="better one")]
        return compare_runs(document)

    monkeypatch.setattr(comparing, "compare", compare)
    return calls


def test_it_prints_the_leaderboard_with_deviations_and_marks(call, planned, tmp_path):
    documents = write_documents(tmp_path)
    result = call(
        *("compare", documents / "one.yaml", documents / "two.yaml", "-w", tmp_path / "w"),
        *("--seeds", 3, "--set", "training.epochs=2"),
    )
    assert result.code == 0
    ((runs, num_seeds, root),) = planned
    assert ([run.name for run in runs], num_seeds, root) == (["one", "two"], 3, tmp_path / "w")
    assert {run.config.training.epochs for run in runs} == {2}
    lines = result.out.splitlines()
    better = next(line for line in lines if "better one" in line)
    assert better.count("±") == 2
    assert better.rstrip().endswith("+")
    place = lines.index("Against the leading baselines:")
    assert lines[place + 1 : place + 3] == [
        "  base (retrieval): ahead of EASE.",
        "  better one (retrieval): ahead of EASE.",
    ]
    assert lines[-1] == f"Report: {tmp_path / 'w' / 'index.html'}"


def test_json_is_one_object(call, planned, tmp_path):
    documents = write_documents(tmp_path)
    result = call("compare", documents / "one.yaml", "-w", tmp_path / "w", "--json")
    answer = json.loads(result.out)
    assert answer["comparison"] == str(tmp_path / "w" / "comparison.json")
    (leaderboard,) = answer["leaderboards"]
    first = leaderboard["systems"][0]
    assert (leaderboard["reference"], first["run"], first["system"]) == (
        "base", "better", "retrieval",
    )  # fmt: skip
    assert set(first["metrics"]["recall@20"]) == {"mean", "sd"}
    assert leaderboard["verdicts"]["better"]["against"] == {
        "ease": {"ndcg@10": "ahead", "recall@20": "ahead"}
    }
    assert first["p_holm"]["recall@20"] < 0.05


def test_a_wrong_row_is_one_line_before_anything_runs(call, planned, tmp_path):
    documents = write_documents(tmp_path)
    grid = documents / "grid.yaml"
    grid.write_text("base: one.yaml\nrows: {a: {}, b: {set: {trainig.epochs: 3}}}\n")
    result = call("compare", grid, "-w", tmp_path / "w")
    assert result.code == 1
    assert f"{grid}: row b: " in result.err
    assert "did you mean 'training'?" in result.err
    assert planned == []
    assert not (tmp_path / "w").exists()
