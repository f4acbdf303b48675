"""Vocabularies counted and cut off by hand."""

import io

import pyarrow as pa
from apache_beam import Create

from pipelines.transforms import batches
from pipelines.transforms.fresh_ids import SelectFreshIds
from pipelines.transforms.sharded_output import write_values
from pipelines.transforms.vocabularies import CountValues, SelectValues
from tests.unit.pipelines.transforms.event_tables import rows_of, run_beam
from tfrs_twotower.specs import CategoricalFeature, HistoryFeature, MultiCategoricalFeature

FEATURES = (
    CategoricalFeature(name="colour", kind="categorical"),
    HistoryFeature(name="history", kind="history"),
    MultiCategoricalFeature(name="tags", kind="multi_categorical"),
    CategoricalFeature(name="hashed", kind="categorical", hash_buckets=8),
)


def test_values_count_once_for_each_training_event_of_their_record():
    columns = {
        "events": [3, 1, 2],
        "entity_id": ["q", "r", "s"],
        "value:colour": ["red", "", "red"],
        "value:tags": [["x", "y"], [], ["y", ""]],
        "value:hashed": ["h", "h", "h"],
    }
    trained = batches.packed(pa.table(columns))
    found = run_beam(lambda root: {"counted": root | Create([trained]) | CountValues(FEATURES)})
    assert as_counts(found["counted"]) == {
        ("colour", "red"): 5,
        ("tags", "x"): 3,
        ("tags", "y"): 5,
    }


def counts_of(pairs):
    """Packed counts from `((vocabulary, value), count)`."""
    return [
        (name, batches.packed(pa.table({"value": [value], "count": [count]})))
        for (name, value), count in pairs
    ]


def as_counts(parts):
    """{(vocabulary, value): count} of packed counts."""
    return {(name, row["value"]): row["count"] for name, part in parts for row in rows_of([part])}


def test_a_vocabulary_holds_the_most_frequent_values_and_of_equals_the_first_by_name():
    counted = [
        (("colour", "red"), 2),
        (("colour", "red"), 1),
        (("colour", "blue"), 3),
        (("colour", "rare"), 1),
        (("colour", "grey"), 2),
        (("tags", "y"), 1),
        (("words", "once"), 1),
        (("words", "twice"), 2),
    ]
    settings = {"colour": (2, 2), "tags": (1, None), "words": (2, None)}
    for shards in (1, 3):
        select = SelectValues(settings, "vocabularies", shards)
        found = run_beam(
            lambda root, select=select: {"items": root | Create(counts_of(counted)) | select}
        )
        assert as_counts(found["items"]) == {
            (("vocabularies/colour", 0), "blue"): 3,
            (("vocabularies/colour", 0), "red"): 3,  # 2 + 1; grey has min_count, but is third
            (("vocabularies/tags", 0), "y"): 1,
            (("vocabularies/words", 0), "twice"): 2,
        }


def test_of_equal_counts_the_first_by_the_bytes_of_its_name_comes_first():
    stream, values = io.BytesIO(), ["\u00e9", "a", "Z", "\U0001f600", "\uffff", "b"]
    write_values(stream, pa.table({"value": values, "count": [1, 1, 1, 1, 1, 2]}))
    assert stream.getvalue().decode().split() == ["b", "Z", "a", "\u00e9", "\uffff", "\U0001f600"]


def test_fresh_ids_are_those_that_only_both_windows_together_select():
    first = [
        *[(("user", "a"), 3), (("user", "b"), 2), (("user", "rare"), 1)],
        *[(("item", "x"), 5), (("item", "y"), 3), (("item", "z"), 2), (("colour", "red"), 1)],
    ]
    second = [
        *[(("user", "a"), 1), (("user", "rare"), 1), (("user", "new"), 2), (("user", "once"), 1)],
        *[(("item", "z"), 2), (("item", "w"), 1), (("item", "w"), 3), (("colour", "blue"), 9)],
    ]
    settings = {"user": (2, None), "item": (1, 2)}

    def build(root):
        windows = (
            root | "A" >> Create(counts_of(first)),
            root | "B" >> Create(counts_of(second)),
        )
        return {"items": windows | SelectFreshIds(settings, "fresh")}

    assert as_counts(run_beam(build)["items"]) == {
        # x 5 and z, w 4 by name: w is among the two largest now, and y stays where it was.
        (("fresh/item", 0), "w"): 4,
        (("fresh/user", 0), "new"): 2,
        (("fresh/user", 0), "rare"): 2,  # 1 + 1; once has 1
    }
