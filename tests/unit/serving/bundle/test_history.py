"""What made each version, and which stay."""

import json
import shutil

import pytest

from serving.bundle.history import kept_exports, made_by, original_of, read_history
from serving.bundle.server_files import write_models_config
from serving.bundle.versions import list_versions, shard_name
from tests.packaging.fresh_process import output_of
from tests.unit.serving.fake_versions import publish_fake
from tfrs_twotower.errors import BundleError


def refreshed(original):
    return {"command": "refresh", "at": "2026-11-26T12:00:00+00:00", "original": original}


@pytest.fixture
def bundle(tmp_path):
    """An export, two refreshes of it, and another export."""
    bundle = tmp_path / "books"
    publish_fake(bundle, 3, made_by={"command": "export", "at": "2026-11-26T11:00:00+00:00"})
    for version in (5, 6):
        publish_fake(bundle, version, parents={"refresh": "r"}, made_by=refreshed(3))
    publish_fake(bundle, 9, candidates=120, made_by={"command": "export"})
    return bundle


def test_the_newest_is_served_unless_another_is_named(bundle):
    (history,) = read_history(bundle)
    assert [record.version for record in history.records] == [3, 5, 6, 9]
    assert [record.served for record in history.records] == [False, False, False, True]
    assert history.records[-1].num_candidates == 120
    assert not history.rolled_back
    write_models_config(bundle, 5)
    (history,) = read_history(bundle)
    assert [record.version for record in history.records if record.served] == [5]
    assert history.rolled_back
    shutil.rmtree(bundle / "5")
    with pytest.raises(BundleError, match="serves version 5, which is not there"):
        read_history(bundle)


def test_a_refresh_goes_back_to_its_export(bundle):
    assert [original_of(bundle, version) for version in (3, 5, 6, 9)] == [3, 3, 3, 9]


def test_the_newest_export_and_the_one_gone_back_to_are_kept(bundle):
    assert kept_exports(bundle, 9) == {9}
    publish_fake(bundle, 10, made_by=refreshed(3))
    assert kept_exports(bundle, 10) == {3, 9}
    publish_fake(bundle, 11, made_by=refreshed(9))
    assert kept_exports(bundle, 11) == {9}
    for version in (3, 9):
        shutil.rmtree(bundle / str(version))
    assert not kept_exports(bundle, 11) & set(list_versions(bundle))


def test_versions_from_before_it_was_noted(tmp_path):
    for version, parents in ((3, {}), (5, {"refresh": "r"}), (6, {"refresh": "s"})):
        publish_fake(tmp_path, version, parents=parents)
    assert [made_by(tmp_path, version).command for version in (3, 5, 6)] == [
        "export",
        "refresh",
        "refresh",
    ]
    assert original_of(tmp_path, 6) == 3


def test_a_version_whose_manifest_is_damaged_is_listed(bundle):
    (bundle / "5" / "manifest.json").write_text("{")
    (history,) = read_history(bundle)
    record = history.records[1]
    assert (record.version, record.made_by.command, record.num_candidates) == (5, "", None)
    assert record.as_row(rolled_back=False)[1] == "unknown: no manifest"
    assert json.dumps(history.as_json())


def test_every_shard_has_its_own(tmp_path):
    for shard in range(2):
        publish_fake(tmp_path / shard_name("books", shard, 2), 3, candidates=10 + shard)
    histories = read_history(tmp_path / "books")
    assert [history.records[0].num_candidates for history in histories] == [10, 11]


def test_listing_loads_no_tensorflow(bundle):
    code = (
        "import sys; from pathlib import Path; from serving.bundle.history import read_history;"
        f"print(len(read_history(Path({str(bundle)!r}))[0].records), 'tensorflow' in sys.modules)"
    )
    assert output_of(code).split() == ["4", "False"]
