import json

from tfrs_twotower.training.reports import BestSoFar, TrainingLog


def test_log_entries_after_the_checkpoint_are_cut_off(tmp_path):
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path)
    log.write({"step": 1})
    position = log.position()
    log.write({"step": 2})
    log.close()
    resumed = TrainingLog(path, position)
    resumed.write({"step": 2, "again": True})
    resumed.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"step": 1}, {"step": 2, "again": True}]


def test_best_so_far_keeps_the_best_and_stops_after_patience():
    best = BestSoFar(patience=2)
    assert [best.record(step, value) for step, value in ((1, 0.3), (2, 0.5), (3, 0.4))] == [
        True,
        True,
        False,
    ]
    assert not best.exhausted
    best.record(4, 0.1)
    assert best.exhausted
    assert (best.step, best.value) == (2, 0.5)


def test_an_equal_value_is_not_better():
    best = BestSoFar(patience=1)
    best.record(1, 0.5)
    assert not best.record(2, 0.5)
    assert best.step == 1


def test_without_patience_it_never_stops():
    best = BestSoFar(patience=None)
    for step in range(100):
        best.record(step, 0.0)
    assert not best.exhausted
