"""Vocabularies counted and cut off by hand."""

from apache_beam import Create

from pipelines.transforms.fresh_ids import SelectFreshIds
from pipelines.transforms.vocabularies import CountValues, SelectValues
from tests.unit.pipelines.transforms.event_tables import run_beam
from tfrs_twotower.specs import CategoricalFeature, HistoryFeature, MultiCategoricalFeature

FEATURES = (
    CategoricalFeature(name="colour", kind="categorical"),
    HistoryFeature(name="history", kind="history"),
    MultiCategoricalFeature(name="tags", kind="multi_categorical"),
    CategoricalFeature(name="hashed", kind="categorical", hash_buckets=8),
)


def test_values_count_once_for_each_training_event_of_their_record():
    trained = [
        (3, ("red", None, ("x", "y"), "h"), "q"),
        (1, ("", None, (), "h"), "r"),
        (2, ("red", None, ("y",), "h"), "s"),
    ]
    found = run_beam(lambda root: {"counted": root | Create(trained) | CountValues(FEATURES)})
    assert sorted(found["counted"]) == [
        (("colour", "red"), 2),
        (("colour", "red"), 3),
        (("tags", "x"), 3),
        (("tags", "y"), 2),
        (("tags", "y"), 3),
    ]


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
    found = run_beam(
        lambda root: {"items": root | Create(counted) | SelectValues(settings, "vocabularies")}
    )
    assert sorted(found["items"]) == [
        (("vocabularies/colour", 0), (-3, "blue")),
        (("vocabularies/colour", 0), (-3, "red")),  # 2 + 1; grey has min_count, but is third
        (("vocabularies/tags", 0), (-1, "y")),
        (("vocabularies/words", 0), (-2, "twice")),
    ]


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
        windows = (root | "A" >> Create(first), root | "B" >> Create(second))
        return {"items": windows | SelectFreshIds(settings, "fresh")}

    assert sorted(run_beam(build)["items"]) == [
        # x 5 and z, w 4 by name: w is among the two largest now, and y stays where it was.
        (("fresh/item", 0), (-4, "w")),
        (("fresh/user", 0), (-2, "new")),
        (("fresh/user", 0), (-2, "rare")),  # 1 + 1; once has 1
    ]
