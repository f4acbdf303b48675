from pathlib import Path

import pytest

from tfrs_twotower.documents import load_yaml, user_path
from tfrs_twotower.errors import ConfigError


def write(tmp_path, text, name="a.yaml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "the key 'a' is given twice.*line 3"),
        ("a:\n  b: {c: 1, c: 2}\n", "the key 'c' is given twice.*line 2"),
        ("a: [1,\n", "not valid YAML"),
        ("- a\n", "found list, expected a mapping"),
        ("", "the file is empty, expected a mapping"),
        (b"a: \xff\n", "cannot be read as UTF-8 text"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_refuses(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_yaml(path, ConfigError)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file_suggests_its_neighbour(tmp_path):
    write(tmp_path, "a: 1\n", "movielens_100k.yaml")
    with pytest.raises(
        ConfigError, match=r"no such file \(did you mean 'movielens_100k\.yaml'\?\)"
    ):
        load_yaml(tmp_path / "movilens_100k.yaml", ConfigError)


def test_reads_a_mapping(tmp_path):
    assert load_yaml(write(tmp_path, "a: {b: [1, x]}\n"), ConfigError) == {"a": {"b": [1, "x"]}}


def test_a_mapping_may_take_over_and_change_another(tmp_path):
    text = "a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\n"
    assert load_yaml(write(tmp_path, text), ConfigError)["d"] == {"b": 1, "c": 3}


def test_paths_of_a_user(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ada")
    assert user_path("~/a.csv", tmp_path) == Path("/home/ada/a.csv")
    assert user_path("~", tmp_path) == Path("/home/ada")
    assert user_path("b/a.csv", tmp_path) == tmp_path / "b" / "a.csv"
    assert user_path("/a.csv", tmp_path) == Path("/a.csv")
    assert user_path("$HOME/[a]*.csv", tmp_path) == tmp_path / "$HOME" / "[a]*.csv"
    assert user_path("~no_such_user_here/a", tmp_path) == tmp_path / "~no_such_user_here" / "a"
