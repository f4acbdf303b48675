"""Files of vectors and judgements that are not what they should be."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.stages.vector_files import read_judgements, read_vectors
from tests.unit.pipelines.cli.command import twotower
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import DataError

FLOATS = pa.list_(pa.float32())
TWO = [[1.0, 2.0], [3.0, 4.0]]


def table(ids=("b", "a"), vectors=TWO, kind=FLOATS, **columns):
    return pa.table({"id": list(ids), "embedding": pa.array(vectors, kind), **columns})


def written(path, content):
    pq.write_table(content, path)
    return path


@pytest.mark.parametrize(
    "kind", [FLOATS, pa.large_list(pa.float32()), pa.list_(pa.float32(), 2)], ids=str
)
def test_vectors_come_in_the_order_of_their_ids(tmp_path, kind):
    names = pa.array(["b", "a"]).dictionary_encode()
    content = table(kind=kind, title=["B", None], more=[1, 2]).set_column(0, "id", names)
    corpus = read_vectors(written(tmp_path / "v.parquet", content))
    assert (corpus.ids.tolist(), corpus.titles.tolist()) == (["a", "b"], ["", "B"])
    np.testing.assert_array_equal(corpus.vectors, TWO[::-1])


VECTORS = {
    "nan": (table(vectors=[[1.0, 2.0], [float("nan"), 0.0]]), "1 of 2 .* NaN .* that of 'a'"),
    "infinite": (table(vectors=[[float("inf"), 0.0], TWO[1]]), "infinite .* first that of 'b'"),
    "widths": (
        table(vectors=[[1.0], [1.0, 2.0]]),
        r"'a' \(record 2\) has 2 numbers, that of 'b' 1",
    ),
    "empty vector": (table(vectors=[[], []]), "has 0 numbers"),
    "null vector": (table(vectors=[TWO[0], None]), "1 of 2 values of 'embedding' are missing"),
    "null number": (table(vectors=[TWO[0], [1.0, None]]), r"'a' \(record 2\) lacks a number"),
    "repeated": (table(ids=("x", "x")), "the id 'x' occurs twice, again in record 2"),
    "empty id": (table(ids=("x", "")), "the id of record 2 is ''"),
    "null id": (table(ids=("x", None)), "1 of 2 values of 'id' are missing, the first in record 2"),
    "whole ids": (table(ids=(1, 2)), "'id' is of type int64, expected string"),
    "doubles": (table(kind=pa.list_(pa.float64())), r"type list<.*double>, expected list<float>"),
    "integers": (table(vectors=[[1], [2]], kind=pa.list_(pa.int64())), "expected list<float>"),
    "scalars": (table(vectors=[1.0, 2.0], kind=pa.float32()), "'embedding' is of type float"),
    "text": (table(vectors=["[1]", "[2]"], kind=pa.string()), "'embedding' is of type string"),
    "titles": (table(title=[1, 2]), "'title' is of type int64, expected string"),
    "no vectors": (pa.table({"id": ["a"]}), "there is no column 'embedding'; it has id"),
    "no ids": (table().drop(["id"]), "there is no column 'id'; it has embedding"),
    "no records": (table(ids=(), vectors=[]).cast(table().schema), "has no record"),
}


@pytest.mark.parametrize("name", list(VECTORS))
def test_vectors_that_are_refused(tmp_path, name):
    content, message = VECTORS[name]
    with pytest.raises(DataError, match=rf"v\.parquet: .*{message}"):
        read_vectors(written(tmp_path / "v.parquet", content))


def test_files_that_are_no_parquet(tmp_path):
    (tmp_path / "v.parquet").write_text("id,embedding\n")
    for path in (tmp_path / "v.parquet", tmp_path / "missing.parquet"):
        with pytest.raises(DataError, match=r"parquet: cannot be read as a Parquet file"):
            read_vectors(path)


def twice(columns):
    """A file with two columns of one name."""
    arrays = pa.table(columns).columns
    return pa.table([*arrays, arrays[0]], names=[*columns, next(iter(columns))])


def test_a_column_that_stands_twice(tmp_path):
    content = twice({"id": ["a"], "embedding": pa.array([[1.0]], FLOATS)})
    with pytest.raises(DataError, match="the column 'id' occurs twice"):
        read_vectors(written(tmp_path / "v.parquet", content))


CANDIDATES = Corpus.of(["01", "1", "b"], np.eye(3))
QUERIES = Corpus.of(["q1", "q2"], np.eye(2, 3))


def judged(path, text):
    path.write_text(text, encoding="utf-8")
    return read_judgements(path, QUERIES, CANDIDATES)


def test_judgements_of_all_formats(tmp_path):
    text = "candidate_id,query_id,gain,more\nb,q2,0.5,x\n01,q1,0,y\n1,q2,2,z\n"
    tab = judged(tmp_path / "j.tsv", text.replace(",", "\t"))
    content = pa.table({"query_id": ["q2", "q2"], "candidate_id": ["1", "b"], "gain": [2.0, 0.5]})
    parquet = read_judgements(written(tmp_path / "j.parquet", content), QUERIES, CANDIDATES)
    for pairs in (tab, parquet):
        rows, candidates, gains = pairs.by_query()
        assert rows.tolist() == [1]
        assert [rows.tolist() for rows in candidates] == [[1, 2]]
        assert [values.tolist() for values in gains] == [[2.0, 0.5]]
    # An id that looks like a number is text, and there need be no gains.
    plain = judged(tmp_path / "j.csv", "query_id,candidate_id\nq1,01\n")
    assert (plain.candidate.tolist(), plain.gain.tolist()) == ([0], [1.0])


def test_judgements_as_trec_and_other_programs_write_them(tmp_path):
    trec = judged(tmp_path / "qrels.txt", "q1 0 01 2\nq2 0 b 0\nq1 0 b 1\n")
    assert (trec.candidate.tolist(), trec.gain.tolist()) == ([0, 2], [2.0, 1.0])
    excel = judged(tmp_path / "j.csv", '\ufeff\r\n"query_id";"candidate_id"\r\n"q1";"01"\r\n')
    assert excel.candidate.tolist() == [0]


HEAD = "query_id,candidate_id,gain\n"
JUDGEMENTS = {
    "unknown candidate": (HEAD + "q1,zz,1\nq1,b,1\n", r"1 of 2 values of candidate_id .* 'zz'"),
    "unknown query": (HEAD + "q9,b,1\n", "values of query_id are not among the 2 ids .* 'q9'"),
    "repeated": (HEAD + "q1,b,1\nq2,b,1\nq1,b,3\n", "the pair 'q1', 'b' occurs twice"),
    "negative": (HEAD + "q1,b,-1\n", "the gain of record 1 is -1.0"),
    "infinite": (HEAD + "q1,b,inf\n", "the gain of record 1 is inf"),
    "nan": (HEAD + "q1,b,nan\n", "1 of 1 values of 'gain' are missing"),
    "twice": ("gain," + HEAD + "1,q1,b,1\n", "the column 'gain' stands twice in the header"),
    "no number": (HEAD + "q1,b,much\n", "cannot be read: .*much"),
    "no gain": (HEAD + "q1,b,\n", "1 of 1 values of 'gain' are missing"),
    "all zero": (HEAD + "q1,b,0\n", "none of 1 pairs has a gain above 0"),
    "no pairs": (HEAD, "none of 0 pairs has a gain above 0"),
    "no column": (
        "query_id,item\nq1,b\n",
        "no column 'candidate_id'; it has query_id, item",
    ),
    "ragged": (HEAD + "q1,b\n", "another number of fields than the header's 3"),
    "empty": ("", "is empty, expected a header"),
}


@pytest.mark.parametrize("name", list(JUDGEMENTS))
def test_judgements_that_are_refused(tmp_path, name):
    text, message = JUDGEMENTS[name]
    with pytest.raises(DataError, match=rf"j\.csv:.*{message}"):
        judged(tmp_path / "j.csv", text)


def test_judgements_of_another_type(tmp_path):
    for columns, message in (
        ({"query_id": ["q1"], "candidate_id": [1]}, "'candidate_id' is of type int64"),
        ({"query_id": ["q1"], "candidate_id": ["b"], "gain": ["1"]}, "'gain' is of type string"),
        ({"query_id": ["q1"], "candidate_id": [None]}, "'candidate_id' is of type null"),
    ):
        path = written(tmp_path / "j.parquet", pa.table(columns))
        with pytest.raises(DataError, match=message):
            read_judgements(path, QUERIES, CANDIDATES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (table(vectors=[[1.0, 2.0], [float("nan"), 0.0]]), "NaN or infinite"),
        (table(ids=("a\nb", "c")), "holds a line break"),
    ],
)
def test_a_bad_file_is_one_line_and_nothing_is_written(
    tmp_path, monkeypatch, capsys, content, message
):
    path = written(tmp_path / "v.parquet", content)
    result = twotower(
        *(monkeypatch, capsys, "import-embeddings", "--candidates", path),
        *("--workdir", tmp_path / "work", "--name", "shop"),
    )
    assert result.code == 1
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.parquet"]


def test_queries_of_another_model_are_refused(tmp_path, monkeypatch, capsys):
    candidates = written(tmp_path / "c.parquet", table())
    queries = written(tmp_path / "q.parquet", table(vectors=[[1.0], [2.0]]))
    result = twotower(
        *(monkeypatch, capsys, "import-embeddings", "--candidates", candidates),
        *("--queries", queries, "--workdir", tmp_path / "work", "--name", "shop"),
    )
    assert result.code == 1
    assert f"{queries}: its vectors have 1 numbers, those of {candidates} 2" in result.err
    assert not (tmp_path / "work").exists()
