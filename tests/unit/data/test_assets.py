import pytest

from tfrs_twotower.data.assets import Assets, load_assets, write_assets
from tfrs_twotower.errors import CorruptArtifact, DataError, MissingArtifact


def test_round_trip_keeps_odd_values(tmp_path):
    values = ["a b", "tab\there", "line\u2028separator", "next\x85line", "\u00e9", "cr\r", "\x1c"]
    written = Assets({"odd": values, "empty": []}, {"numeric": {"query.age": {"mean": 1.5}}})
    write_assets(written, tmp_path)
    assert load_assets(tmp_path) == written


def test_ids_of_the_validation_window_are_kept_apart_on_disk_and_left_out_of_a_first_fit(tmp_path):
    written = Assets({"item": ["a", "b", "new"], "user": ["u"]}, {}, {"item": 1})
    write_assets(written, tmp_path)
    assert load_assets(tmp_path) == written
    assert (tmp_path / "vocabularies" / "item.txt").read_text() == "a\nb\n"
    assert (tmp_path / "fresh_ids" / "item.txt").read_text() == "new\n"
    first = Assets({"item": ["a", "b"], "user": ["u"]})
    assert written.of_first_fit() == first == first.of_first_fit()
    (tmp_path / "fresh_ids" / "other.txt").write_text("new\n")
    with pytest.raises(CorruptArtifact, match=r"other\.txt: cannot be read"):
        load_assets(tmp_path)


def test_a_value_of_two_lines_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match=r"vocabulary 'odd': found 'a\\nb'; .* no line break"):
        write_assets(Assets({"even": ["a"], "odd": ["a", "a\nb"]}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unknown_names(assets):
    with pytest.raises(MissingArtifact, match=r"vocabularies/nothing\.txt.*item_id"):
        assets.vocabulary("nothing")
    with pytest.raises(MissingArtifact, match=r"no statistics of 'query\.height'"):
        assets.numeric("query.height")


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(MissingArtifact, match=r"statistics\.json: is missing"):
        load_assets(tmp_path)
    (tmp_path / "statistics.json").write_text("{")
    with pytest.raises(CorruptArtifact, match=r"statistics\.json: cannot be read"):
        load_assets(tmp_path)
    (tmp_path / "statistics.json").write_text("{}")
    (tmp_path / "vocabularies").mkdir()
    (tmp_path / "vocabularies" / "bad.txt").write_bytes(b"\xff\n")
    with pytest.raises(CorruptArtifact, match=r"bad\.txt: cannot be read"):
        load_assets(tmp_path)
