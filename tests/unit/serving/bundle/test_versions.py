import time

import numpy as np
import pytest

from serving.bundle.versions import (
    bundles_before,
    find_shards,
    list_versions,
    merge_lists,
    next_version,
    remove_old_versions,
    resolve_version,
    rows_of_shards,
    shard_name,
)
from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.errors import BundleError

LOWEST = float(np.finfo(np.float32).min)


def make(bundle, *names):
    for name in names:
        (bundle / name).mkdir(parents=True)
        (bundle / name / "saved_model.pb").write_bytes(b"")


def test_only_integers_are_versions(tmp_path):
    make(tmp_path, "3", "20", ".21.partial", "x", "v4")
    (tmp_path / "9").write_text("a file")
    assert list_versions(tmp_path) == [3, 20]
    assert list_versions(tmp_path / "absent") == []


def test_the_next_version_is_the_time_or_one_more(tmp_path):
    assert abs(next_version(tmp_path) - time.time()) < 5
    future = int(time.time()) + 1000
    make(tmp_path, str(future))
    assert next_version(tmp_path) == future + 1


def test_retention_keeps_the_newest_and_clears_leftovers(tmp_path):
    make(tmp_path, "1", "2", "10", ".11.partial")
    assert remove_old_versions(tmp_path, 2) == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "2"]
    assert remove_old_versions(tmp_path, 5) == []


def test_a_version_that_servers_may_still_have_loaded_stays(tmp_path):
    make(tmp_path, "1", "2", "3", "4")
    assert remove_old_versions(tmp_path, 1, also_keep={2}) == [1, 3]
    assert list_versions(tmp_path) == [2, 4]


def test_a_bundle_means_its_newest_version(tmp_path):
    make(tmp_path, "9", "10")
    assert resolve_version(tmp_path) == tmp_path / "10"
    assert resolve_version(tmp_path / "9") == tmp_path / "9"


def test_what_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"there is no bundle. Expected .*twotower export"):
        resolve_version(tmp_path)
    make(tmp_path / "big-shard-00000-of-00001", "1")
    with pytest.raises(BundleError, match=r"is split into big-shard-00000-of-00001, of which one"):
        resolve_version(tmp_path / "big")
    make(tmp_path / "tiny", "1")
    with pytest.raises(BundleError, match=r"It holds the bundles .*, tiny; name one of them"):
        resolve_version(tmp_path)


def test_names():
    assert shard_name("books", 1, 4) == "books-shard-00001-of-00004"


def test_a_candidates_shard_is_its_crc():
    # The CRC-32 of the three letters, as any table of it has them.
    assert [shard_of(name, 4) for name in ("a", "b", "c")] == [
        0xE8B7BE43 % 4,
        0x71BEEFF9 % 4,
        0x06B9DF6F % 4,
    ]


def test_every_row_is_in_one_shard():
    ids = [f"c{row:02d}" for row in range(50)]
    rows = rows_of_shards(ids, 3)
    assert sorted(np.concatenate(rows).tolist()) == list(range(50))
    assert all((np.diff(of_shard) > 0).all() for of_shard in rows)


def test_an_empty_shard_is_refused():
    with pytest.raises(BundleError, match=r"2 shards of 1 candidates leave shard . empty"):
        rows_of_shards(["only"], 2)


def test_lists_are_merged_by_score_then_id():
    ids = [
        np.array([[b"b", b"d", b""]], object),
        np.array([[b"a", b"c"]], object),
    ]
    scores = [
        np.array([[0.5, 0.25, LOWEST]], np.float32),
        np.array([[0.5, 0.75]], np.float32),
    ]
    merged = merge_lists(ids, scores, 3)
    assert merged[0].tolist() == [[b"c", b"a", b"b"]]
    assert merged[1].tolist() == [[0.75, 0.5, 0.5]]
    longer = merge_lists(ids, scores, 6)
    assert longer[0].tolist() == [[b"c", b"a", b"b", b"d", b"", b""]]
    assert longer[1][0, 4:].tolist() == [LOWEST, LOWEST]


def test_merged_ties_go_by_id_whichever_shard_they_are_in():
    for first, second in (("a", "b"), ("b", "a")):
        ids = [np.array([[name.encode()]], object) for name in (first, second)]
        merged = merge_lists(ids, [np.array([[0.5]], np.float32)] * 2, 2)
        assert merged[0].tolist() == [[b"a", b"b"]]


def make_shards(root, *names):
    for name in names:
        (root / name / "1").mkdir(parents=True)


def test_a_bundle_stands_for_itself(tmp_path):
    make_shards(tmp_path, "books", "books2-shard-00000-of-00001")
    assert find_shards(tmp_path / "books") == [tmp_path / "books"]
    assert find_shards(tmp_path / "films") == [tmp_path / "films"]


def test_a_set_of_shards_goes_by_its_name_and_by_each_shard(tmp_path):
    names = [shard_name("books", shard, 2) for shard in range(2)]
    make_shards(tmp_path, *names)
    expected = [tmp_path / name for name in names]
    assert find_shards(tmp_path / "books") == expected
    assert find_shards(tmp_path / names[1]) == expected
    make_shards(tmp_path, *(shard_name("books", shard, 3) for shard in range(3)))
    assert find_shards(tmp_path / names[1]) == expected
    with pytest.raises(BundleError, match="expected one complete set"):
        find_shards(tmp_path / "books")


def test_the_version_before_may_have_another_number_of_shards(tmp_path):
    def bundles(count):
        names = [shard_name("books", shard, count) for shard in range(count)]
        return [tmp_path / name for name in names]

    whole = [tmp_path / "books"]
    assert bundles_before(whole) == whole
    for path in bundles(2):
        make(path, "4", "7")
    make(tmp_path / "books2", "9")
    make(bundles(3)[0], "9")
    assert bundles_before(whole) == bundles_before(bundles(4)) == bundles(2)
    make(tmp_path / "books", "8")
    assert bundles_before(bundles(4)) == whole
    assert bundles_before(bundles(2)) == bundles(2)


def test_an_incomplete_set(tmp_path):
    make_shards(tmp_path, shard_name("books", 1, 2))
    with pytest.raises(BundleError, match="found the shards books-shard-00001-of-00002; expected"):
        find_shards(tmp_path / "books")
