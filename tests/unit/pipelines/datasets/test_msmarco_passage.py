import json

import pyarrow.parquet as pq
import pytest

from pipelines.datasets import msmarco_passage
from tests.fixtures.recorder import Recorder
from tfrs_twotower.errors import DataError


@pytest.fixture
def source(tmp_path):
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "collection.tsv").write_text(
        '0\tThe "Manhattan" café in 1942.\n1\tA second passage.\n', encoding="utf-8"
    )
    (directory / "queries.train.tsv").write_text("1\twhat is it\n2\tnobody judged this\n")
    (directory / "queries.dev.small.tsv").write_text("9\twho was it\n")
    (directory / "qrels.train.tsv").write_text("1\t0\t1\t1\n")
    (directory / "qrels.dev.small.tsv").write_text("9\t0\t0\t1\n")
    return directory


def test_tables(source, tmp_path, monkeypatch):
    monkeypatch.setattr(msmarco_passage, "_ROWS_PER_GROUP", 1)
    out, recorder = tmp_path / "out", Recorder()
    out.mkdir()
    msmarco_passage.convert(source, out, tmp_path, recorder)
    assert pq.read_table(out / "passages.parquet").to_pylist() == [
        {"passage_id": "0", "text": 'The "Manhattan" café in 1942.'},
        {"passage_id": "1", "text": "A second passage."},
    ]
    queries = [json.loads(line) for line in (out / "queries.jsonl").read_text().splitlines()]
    assert queries == [
        {"query_id": "1", "text": "what is it", "split": msmarco_passage.split_of("1", "train")},
        {"query_id": "9", "text": "who was it", "split": "test"},
    ]
    assert (out / "qrels.tsv").read_text() == (
        "query_id\tpassage_id\trelevance\n1\t1\t1\n9\t0\t1\n"
    )
    assert recorder.messages == ["2 passages, 2 judged questions, 2 judgements"]
    assert len(recorder.steps) == 2


def test_one_training_question_in_a_hundred_is_validation():
    splits = [msmarco_passage.split_of(str(i), "train") for i in range(100_000)]
    assert splits.count("validation") == pytest.approx(1000, abs=150)
    assert splits.count("test") == 0


def test_judged_questions_must_be_there(source, tmp_path):
    (source / "queries.dev.small.tsv").write_text("")
    with pytest.raises(DataError, match="found 1 of 2 judged questions"):
        msmarco_passage.convert(source, tmp_path, tmp_path, Recorder())


def test_wrong_encoding_is_named(source, tmp_path):
    (source / "collection.tsv").write_bytes(b"0\t\xe9\n")
    with pytest.raises(DataError, match=r"collection\.tsv: is not utf-8 text"):
        msmarco_passage.convert(source, tmp_path, tmp_path, Recorder())
