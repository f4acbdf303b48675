"""Reading candidates for a refresh, compared with preprocessing of the same table."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.transforms.corpus import read_candidate_table
from pipelines.transforms.records import entity_columns
from pipelines.transforms.table_sources import find_source
from tests.fixtures.tiny import tiny_spec, write_tiny_preprocessed, write_tiny_tables
from tfrs_twotower.data.corpus import load_corpus, parse_corpus
from tfrs_twotower.errors import DataError

SPEC = tiny_spec()


def read(directory):
    columns = entity_columns(SPEC.candidates, SPEC.candidate.features, "candidate")
    return read_candidate_table(
        find_source("candidates", SPEC.candidates, columns, directory), SPEC
    )


def test_a_table_gives_the_corpus_that_preprocessing_gives(tmp_path):
    write_tiny_tables(tmp_path)
    table = read(tmp_path)
    assert table.bad == []
    corpus = parse_corpus(tf.data.Dataset.from_tensor_slices(table.examples), SPEC, tmp_path)
    write_tiny_preprocessed(tmp_path / "preprocessed")
    expected = load_corpus(tmp_path / "preprocessed", SPEC)
    np.testing.assert_array_equal(corpus.ids, expected.ids)
    np.testing.assert_array_equal(corpus.titles, expected.titles)
    assert corpus.raw.keys() == expected.raw.keys()
    for name, values in expected.raw.items():
        np.testing.assert_array_equal(corpus.raw[name], values, err_msg=name)


def test_bad_records_are_named_and_the_first_of_an_id_counts(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "items.csv").write_text(
        "item,brand,topics,price,title,description,released\n"
        "a,x,jazz,1,First,,\n"
        "a,y,jazz,2,Second,,\n"
        "b,x,jazz,dear,,,\n"
        ",x,jazz,1,,,\n"
        "c,x\n"
    )
    table = read(tmp_path)
    path = tmp_path / "tiny" / "items.csv"
    assert table.bad == [
        f"{path}:3: duplicate candidate id",
        f"{path}:4: column 'price': not a number",
        f"{path}:5: missing candidate id in column 'item'",
        f"{path}:6: has another number of fields than the header's 7",
    ]
    (example,) = table.examples
    feature = tf.train.Example.FromString(example).features.feature
    assert feature["_title"].bytes_list.value[0] == b"First"


def test_a_table_without_a_column(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "items.csv").write_text("item,brand\na,b\n")
    with pytest.raises(DataError, match=r"missing column .*'topics'"):
        read(tmp_path)
