import time

import pytest

from serving.bundle.versions import (
    list_versions,
    next_version,
    remove_old_versions,
    resolve_version,
)
from tfrs_twotower.errors import BundleError


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
    assert remove_old_versions(tmp_path, 1, also_keep=2) == [1, 3]
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
