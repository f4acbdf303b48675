"""Tables as elements: what is divided is whole again, and shards are those of the files."""

import random

import pyarrow as pa
import pytest

from pipelines.transforms import batches
from pipelines.transforms.preprocessing import num_shards_of
from pipelines.transforms.table_parts import Part, most_records, parts_of, records_of_the_largest
from pipelines.transforms.table_sources import Source
from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.config import PreprocessConfig


def table_of(number=500, seed=1):
    dice = random.Random(seed)
    ids = [
        dice.choice(["a", "b\u00e9", "", "\u6f22", f"q{dice.randrange(90)}"]) for _ in range(number)
    ]
    return pa.table({"id": ids, "at": list(range(number))})


@pytest.mark.parametrize("shards", [1, 3, 16])
def test_every_row_is_in_the_shard_of_its_id(shards):
    table = table_of()
    found = []
    for shard, part in batches.divided(table, "id", shards):
        rows = batches.unpacked([part]).to_pylist()
        assert {shard_of(row["id"], shards) for row in rows} == {shard}
        assert rows == sorted(rows, key=lambda row: row["at"])  # their order stays
        found += rows
    assert sorted(found, key=lambda row: row["at"]) == table.to_pylist()


def test_many_small_tables_become_few(monkeypatch):
    monkeypatch.setattr(batches, "ROWS", 100)
    table = table_of(250)
    some = [table.slice(at, 30) for at in range(0, 250, 30)]
    gathered = list(batches.gathered(some))
    assert [one.num_rows for one in gathered] == [120, 120, 10]
    assert pa.concat_tables(gathered).equals(table)


def test_texts_are_ranked_by_their_bytes():
    distinct, (first, second) = batches.ranked(
        pa.chunked_array([["b", "a"], ["\uffff"]]), pa.array(["\U0001f600", "a"])
    )
    assert distinct.to_pylist() == ["a", "b", "\uffff", "\U0001f600"]
    assert (first.tolist(), second.tolist()) == ([1, 0, 2], [3, 0])


def test_row_groups_are_read_apart_and_large_tables_have_more_shards(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    paths = [str(tmp_path / name) for name in ("a.parquet", "b.parquet", "c.parquet")]
    for path, number in zip(paths, (250, 0, 100), strict=True):
        pq.write_table(table_of(number).cast(table_of(1).schema), path, row_group_size=100)
    source = Source("interactions", tuple(paths), "parquet", ("id",))
    parts = parts_of(source)
    assert parts[:4] == [Part(0, 0, True), Part(0, 1, False), Part(0, 2, False), parts[3]]
    assert [part.file_number for part in parts if part.opens_file] == [0, 1, 2]
    assert most_records(source) == 350
    (tmp_path / "t.csv").write_text("id\n" * 2400)
    text = Source("queries", (str(tmp_path / "t.csv"),), "csv", ("id",))
    assert parts_of(text) == [Part(0, None, True)]
    assert most_records(text) == 300
    config = PreprocessConfig()
    most = records_of_the_largest({"a": source, "b": text})
    assert num_shards_of(config, most) == config.num_shards == 4
    monkeypatch.setattr("pipelines.transforms.preprocessing._RECORDS_OF_A_SHARD", 50)
    assert num_shards_of(config, most) == 7
