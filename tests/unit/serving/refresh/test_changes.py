import numpy as np
import pytest

from serving.graph.release import content_hashes
from serving.refresh.changes import plan_changes
from tfrs_twotower.data.corpus import Corpus, strings
from tfrs_twotower.errors import BundleError


def hashes(*numbers):
    return np.array([[number] * 16 for number in numbers], np.uint8).reshape(-1, 16)


def corpus(*names, **titles):
    shown = [titles.get(name, f"Title {name}") for name in names]
    return Corpus(strings(names), strings(shown))


def plan(given, withdrawn=(), replace=False, **titles):
    """The earlier corpus is a, b, d with the hashes 1, 2, 4; `given` are pairs."""
    return plan_changes(
        corpus("a", "b", "d"),
        hashes(1, 2, 4),
        corpus(*(name for name, _ in given), **titles),
        hashes(*(number for _, number in given)),
        withdrawn,
        replace=replace,
    )


def test_added_changed_unchanged_and_not_given():
    changes = plan([("b", 2), ("c", 3), ("d", 40)])
    assert changes.ids == ["a", "b", "c", "d"]
    assert changes.kept_rows.tolist() == [0, 1, -1, 2]
    assert changes.given_rows.tolist() == [-1, 0, 1, 2]
    assert changes.hashes[:, 0].tolist() == [1, 2, 3, 40]
    assert changes.to_embed.tolist() == [2, 3]
    assert (changes.num_added, changes.num_changed, changes.num_withdrawn) == (1, 1, 0)


def test_withdrawing_and_replacing():
    changes = plan([("c", 3)], withdrawn=["a", "unknown"])
    assert (changes.ids, changes.num_withdrawn) == (["b", "c", "d"], 1)
    assert changes.unknown == ["unknown"]
    changes = plan([("c", 3), ("b", 2)], replace=True)
    assert (changes.ids, changes.to_embed.tolist(), changes.num_withdrawn) == (["b", "c"], [1], 2)


def test_nothing_is_what_is_there_already_and_what_was_never_there():
    assert plan([("b", 2), ("a", 1)], withdrawn=["unknown"]).nothing
    assert plan([("d", 4), ("b", 2), ("a", 1)], replace=True).nothing
    assert not plan([("b", 3)]).nothing
    assert not plan([], withdrawn=["b"]).nothing
    assert not plan([("c", 3)]).nothing


def test_a_title_alone_is_a_change_that_embeds_nothing():
    changes = plan([("b", 2), ("d", 4)], d="Another")
    assert (changes.retitled.tolist(), changes.to_embed.tolist()) == ([2], [])
    assert (changes.num_changed, changes.nothing) == (1, False)


def test_columns_have_what_was_given_and_otherwise_what_was_kept():
    changes = plan([("b", 3), ("c", 5)])
    columns = changes.columns(
        {"price": np.array([1.0, 2.0, 4.0]), "tags": np.array([[1, 1], [2, 2], [4, 4]])},
        {"price": np.array([20.0, 30.0]), "tags": np.array([[7, 8], [9, 9]]), "more": None},
    )
    assert columns["price"].tolist() == [1.0, 20.0, 30.0, 4.0]
    assert columns["tags"].tolist() == [[1, 1], [7, 8], [9, 9], [4, 4]]


def test_rows_go_by_the_bytes_of_the_ids():
    changes = plan([("é", 5), ("Z", 6), ("z", 7)])
    assert changes.ids == ["Z", "a", "b", "d", "z", "é"]


def test_what_cannot_be_done():
    with pytest.raises(BundleError, match="both given and withdrawn, such as 'b'"):
        plan([("b", 2)], withdrawn=["b"])
    with pytest.raises(BundleError, match="no candidate would be left"):
        plan([], withdrawn=["a", "b", "d"])


def features(**changes):
    raw = {
        "brand": np.array([b"x", b"y"], object),
        "topics": np.array([[b"a", b"b"], [b"ab", b""]], object),
        "price": np.array([1.0, np.nan], np.float32),
        "released": np.array([-1, 7]),
    }
    return content_hashes({**raw, **changes})


def test_a_hash_changes_with_every_feature():
    before = features()
    for name, values in (
        ("brand", np.array([b"X", b"y"], object)),
        ("topics", np.array([[b"ab", b""], [b"ab", b""]], object)),
        ("price", np.array([1.5, np.nan], np.float32)),
        ("released", np.array([0, 7])),
    ):
        after = features(**{name: values})
        assert (after != before).any(axis=1).tolist() == [True, False]


def test_a_hash_knows_neither_order_nor_the_kind_of_nan():
    other_nan = np.array([0x3F800000, 0xFFC00001], np.uint32).view(np.float32)
    raw = {"price": other_nan, "brand": np.array([b"x", b"y"], object)}
    turned = {"brand": raw["brand"], "price": np.array([1.0, np.nan], np.float32)}
    np.testing.assert_array_equal(content_hashes(raw), content_hashes(turned))
    assert content_hashes({}).shape == (0, 16)
