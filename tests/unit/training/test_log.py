import json

from tfrs_twotower.training.reports import TrainingLog


def test_what_was_written_after_the_checkpoint_is_cut_off(tmp_path):
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
