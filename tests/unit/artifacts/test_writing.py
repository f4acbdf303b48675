import json
import shutil

import pytest

from tfrs_twotower.artifacts import (
    MANIFEST_NAME,
    commit,
    read_manifest,
    replace_directory,
    staging_directory,
    verify_files,
)
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact


def write_model(destination, text="weights", **changes):
    staging = staging_directory(destination)
    (staging / "inner").mkdir()
    (staging / "inner" / "w.txt").write_text(text)
    arguments = {
        "kind": "model",
        "spec_fingerprint": "s",
        "config_fingerprint": "c",
        "parents": {"preprocessed": "p"},
        "counts": {"examples": 3},
        **changes,
    }
    return commit(staging, destination, **arguments)


def test_commit_writes_checksums_and_reads_back(tmp_path):
    written = write_model(tmp_path / "model")
    manifest = read_manifest(tmp_path / "model", "model")
    assert manifest == written
    assert list(manifest.files) == ["inner/w.txt"]
    assert manifest.files["inner/w.txt"].size_bytes == len("weights")
    verify_files(tmp_path / "model", manifest)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_fingerprint_follows_content_and_nothing_else(tmp_path):
    one = write_model(tmp_path / "a" / "model")
    same = write_model(tmp_path / "b" / "model", details={"seconds": 3.2})
    assert one.fingerprint == same.fingerprint
    others = [
        write_model(tmp_path / "c", text="other"),
        write_model(tmp_path / "d", spec_fingerprint="t"),
        write_model(tmp_path / "e", config_fingerprint="d"),
        write_model(tmp_path / "f", parents={"preprocessed": "q"}),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_the_format_of_another_version_is_refused_and_the_way_out_is_named(tmp_path):
    written = write_model(tmp_path / "preprocessed", kind="preprocessed")
    assert written.schema_version == 2
    path = tmp_path / "preprocessed" / MANIFEST_NAME
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    message = "found a 'preprocessed' artifact of format 1.*reads format 2. .*`twotower preprocess`"
    with pytest.raises(CorruptArtifact, match=message):
        read_manifest(tmp_path / "preprocessed", "preprocessed")


def test_a_killed_run_leaves_nothing_finished(tmp_path):
    destination = tmp_path / "model"
    staging = staging_directory(destination)
    (staging / "half.txt").write_text("half")
    with pytest.raises(
        MissingArtifact, match=r"no finished 'model' artifact; run the stage .*`twotower train`"
    ):
        read_manifest(destination, "model")
    write_model(destination)
    assert not (destination / "half.txt").exists()


def test_a_killed_run_leaves_the_earlier_artifact(tmp_path):
    earlier = write_model(tmp_path / "model")
    (staging_directory(tmp_path / "model") / "half.txt").write_text("half")
    manifest = read_manifest(tmp_path / "model", "model")
    assert manifest == earlier
    verify_files(tmp_path / "model", manifest)


def test_staging_may_be_kept_to_resume_from(tmp_path):
    (staging_directory(tmp_path / "model") / "checkpoint").write_text("step 200")
    assert (staging_directory(tmp_path / "model", keep=True) / "checkpoint").exists()
    assert not (staging_directory(tmp_path / "model") / "checkpoint").exists()


@pytest.mark.parametrize("renames", [1, 2])
def test_replaces_an_earlier_directory_even_after_a_kill_between_renames(tmp_path, renames):
    destination = tmp_path / "model"
    write_model(destination, text="first")
    destination.rename(tmp_path / ".model.outdated")
    if renames == 2:  # killed before the outdated directory was removed
        write_model(destination, text="second")
        shutil.copytree(destination, tmp_path / ".model.outdated")
    staging = staging_directory(destination)
    (staging / "w.txt").write_text("third")
    replace_directory(staging, destination)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (destination / "w.txt").read_text() == "third"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"w\.txt: is missing"),
        (lambda path: path.write_text("Weights"), "does not match its checksum"),
        (lambda path: path.write_text("longer than before"), "does not match its checksum"),
    ],
)
def test_damage_is_found(tmp_path, damage, message):
    manifest = write_model(tmp_path / "model")
    damage(tmp_path / "model" / "inner" / "w.txt")
    with pytest.raises(CorruptArtifact, match=message):
        verify_files(tmp_path / "model", manifest)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read"), ("{}", "is not a manifest of this version"), ("[]", "is not a man")],
)
def test_a_broken_manifest(tmp_path, text, message):
    (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(CorruptArtifact, match=message):
        read_manifest(tmp_path, "model")


def test_another_kind_is_refused(tmp_path):
    write_model(tmp_path / "model")
    with pytest.raises(CorruptArtifact, match="found a 'model' artifact, expected 'index'"):
        read_manifest(tmp_path / "model", "index")


def test_the_manifest_is_plain_json(tmp_path):
    write_model(tmp_path / "model")
    data = json.loads((tmp_path / "model" / MANIFEST_NAME).read_text())
    assert data["parents"] == {"preprocessed": "p"}
    assert "numpy" in data["packages"]


def test_a_quick_look_sees_missing_and_truncated_files_and_says_the_command(tmp_path):
    manifest = write_model(tmp_path / "model")
    path = tmp_path / "model" / "inner" / "w.txt"
    path.write_text("WEIGHTS")
    verify_files(tmp_path / "model", manifest, contents=False)
    with pytest.raises(CorruptArtifact, match=r"damaged .* again: `twotower train`\."):
        verify_files(tmp_path / "model", manifest)
    path.write_text("short")
    with pytest.raises(CorruptArtifact, match="does not match its checksum"):
        verify_files(tmp_path / "model", manifest, contents=False)
    path.unlink()
    with pytest.raises(CorruptArtifact, match=r"w\.txt: is missing\. Run .*`twotower train`"):
        verify_files(tmp_path / "model", manifest, contents=False)
