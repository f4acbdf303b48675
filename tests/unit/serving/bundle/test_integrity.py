"""A version is what was published, file for file, or nothing of it is read."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from serving.bundle import gate, integrity, loading
from serving.bundle.integrity import (
    CHECKSUMS_NAME,
    verified_manifest,
    verify_version,
    write_checksums,
)
from serving.bundle.rollback import roll_back, undo_rollback
from serving.bundle.server_files import pinned_version
from serving.bundle.warm_up import read_warmup_requests
from serving.refresh.refreshed_release import Refreshable
from tests.unit.serving.fake_versions import publish_listed
from tfrs_twotower.artifacts import MANIFEST_NAME, read_manifest
from tfrs_twotower.errors import BundleError, CorruptArtifact


@pytest.fixture
def version(tmp_path):
    """Version 7 of the bundle `books`, with `saved_model.pb` and `assets/words.txt`."""
    return publish_listed(tmp_path / "books", 7)


def test_the_list_is_one_that_a_stranger_reads(version):
    """`sha256sum --check` finds every file but the list itself, and finds a changed manifest."""
    lines = (version / CHECKSUMS_NAME).read_text().splitlines()
    assert [line.partition("  ")[2] for line in lines] == [
        "assets/words.txt",
        MANIFEST_NAME,
        "saved_model.pb",
    ]
    assert lines[0].startswith(hashlib.sha256(b"a\nb\n").hexdigest())
    check = ["sha256sum", "--check", "--strict", CHECKSUMS_NAME]
    assert subprocess.run(check, cwd=version, capture_output=True, check=False).returncode == 0
    found = verify_version(version)
    assert (found.num_files, found.has_checksums, found.is_signed) == (4, True, False)
    with (version / MANIFEST_NAME).open("a") as manifest:
        manifest.write(" ")
    assert subprocess.run(check, cwd=version, capture_output=True, check=False).returncode == 1
    with pytest.raises(CorruptArtifact, match=r"manifest\.json: does not match its checksum in SH"):
        verify_version(version)
    with pytest.raises(CorruptArtifact, match=r"manifest\.json: does not match"):
        integrity.listed_manifest(version)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def swap_for_link(path: Path, target: Path) -> None:
    shutil.move(path, target)
    path.symlink_to(target)


DAMAGE = {
    "changed": (lambda v: rewrite(v / "assets/words.txt", "a\n", "c\n"), "does not match its chec"),
    "missing": (lambda v: (v / "assets/words.txt").unlink(), r"words\.txt: is missing, but list"),
    "added": (lambda v: (v / "assets/more.txt").touch(), r"more\.txt: is not listed in SHA256SUMS"),
    "nested manifest": (
        lambda v: (v / "assets" / MANIFEST_NAME).touch(),
        r"assets/manifest\.json: is not listed",
    ),
    "linked file": (
        lambda v: swap_for_link(v / "saved_model.pb", v.parent / "elsewhere.pb"),
        r"saved_model\.pb: is a symbolic link; a version consists of regular files only",
    ),
    "link inside": (
        lambda v: (v / "copy.txt").symlink_to("assets/words.txt"),
        r"copy\.txt: is a symbolic link",
    ),
    "linked directory": (
        lambda v: swap_for_link(v / "assets", v.parent / "elsewhere"),
        "assets: is a symbolic link",
    ),
    "linked list": (
        lambda v: swap_for_link(v / CHECKSUMS_NAME, v.parent / "list"),
        "SHA256SUMS: is a symbolic link",
    ),
    "link to a device": (
        lambda v: ((v / MANIFEST_NAME).unlink(), (v / MANIFEST_NAME).symlink_to("/dev/zero")),
        r"manifest\.json: is a symbolic link",
    ),
    "pipe": (lambda v: os.mkfifo(v / "assets/pipe"), "pipe: is a device, a pipe or a socket"),
    "pipe for a list": (
        lambda v: ((v / CHECKSUMS_NAME).unlink(), os.mkfifo(v / CHECKSUMS_NAME)),
        "SHA256SUMS: is a device, a pipe or a socket",
    ),
    "twice": (
        lambda v: rewrite(v / CHECKSUMS_NAME, "  saved_model.pb", "  assets/words.txt"),
        "line 3 names a file a second time",
    ),
    "path above": (
        lambda v: rewrite(v / CHECKSUMS_NAME, "  saved_model.pb", "  ../8/saved_model.pb"),
        "line 3 names a path outside of the version",
    ),
    "absolute path": (
        lambda v: rewrite(v / CHECKSUMS_NAME, "  saved_model.pb", "  /etc/hostname"),
        "line 3 names a path outside of the version",
    ),
    "no line": (lambda v: rewrite(v / CHECKSUMS_NAME, "  saved", " saved"), "line 3 is not a SHA"),
    "empty list": (lambda v: (v / CHECKSUMS_NAME).write_text(""), "line 1 is not a SHA-256"),
    "huge list": (
        lambda v: os.truncate(v / CHECKSUMS_NAME, 1 << 30),
        "SHA256SUMS: has 1,073,741,824 bytes; such a list has at most",
    ),
    "huge manifest": (
        lambda v: os.truncate(v / MANIFEST_NAME, 1 << 40),
        r"manifest\.json: is not a regular file of at most 64 MiB",
    ),
    "huge file": (
        lambda v: os.truncate(v / "saved_model.pb", 1 << 40),
        r"saved_model\.pb: does not match its checksum",
    ),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_not_published_is_found(version, damage):
    """Without reading a pipe, a device, a file of a TiB, or anything outside of the version."""
    spoil, message = DAMAGE[damage]
    spoil(version)
    with pytest.raises(CorruptArtifact, match=message):
        verified_manifest(version)


def test_both_lists_must_agree(version):
    rewrite(version / "assets/words.txt", "a\n", "c\n")
    (version / CHECKSUMS_NAME).unlink()
    write_checksums(version)
    with pytest.raises(CorruptArtifact, match=r"words\.txt: SHA256SUMS and manifest\.json list di"):
        verify_version(version)


def test_a_version_of_before_the_list_is_compared_with_its_manifest(version):
    (version / CHECKSUMS_NAME).unlink()
    assert not verify_version(version).has_checksums
    (version / "more.txt").touch()
    with pytest.raises(CorruptArtifact, match=r"more\.txt: is not listed in manifest\.json"):
        verify_version(version)


@pytest.mark.timeout(20)
def test_a_manifest_names_no_path_outside_and_is_a_file(tmp_path, version):
    rewrite(version / MANIFEST_NAME, "assets/words.txt", "../words.txt")
    with pytest.raises(CorruptArtifact, match=r"mistakes, such as files: .*'\.\./words\.txt' is n"):
        read_manifest(version, "bundle")
    (version / MANIFEST_NAME).unlink()
    os.mkfifo(version / MANIFEST_NAME)
    with pytest.raises(CorruptArtifact, match="is not a regular file"):
        read_manifest(version, "bundle")


def test_a_version_elsewhere_is_not_in_the_bundle(version, tmp_path):
    shutil.move(version, tmp_path / "elsewhere")
    version.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptArtifact, match="7: is a symbolic link that leads out of its bundle"):
        verify_version(version)


def test_a_bundle_may_be_reached_by_a_link(version, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "books")
    assert verify_version(tmp_path / "link" / "7").num_files == 4


def test_a_name_that_no_line_holds(version):
    (version / "assets" / "two\nlines").touch()
    with pytest.raises(BundleError, match=r"'assets/two\\nlines' cannot be listed in SHA256SUMS"):
        write_checksums(version)


def test_every_loader_refuses_an_unlisted_file(whole_bundle, tmp_path):
    """Loading, the load test's requests, a refresh; of the release gate the manifest alone."""
    bundle = tmp_path / "small"
    directory = shutil.copytree(whole_bundle.directory, bundle / whole_bundle.directory.name)
    assert verify_version(directory).has_checksums
    (directory / "assets" / "more.txt").touch()
    for load in (
        loading.load_bundle,
        Refreshable.of_version,
        lambda path: read_warmup_requests(path, "serving_default", 1),
    ):
        with pytest.raises(CorruptArtifact, match=r"more\.txt: is not listed"):
            load(directory)
    limits = gate.GateConfig()
    few = gate.Figures(1, 1)
    with pytest.raises(BundleError, match="refused by the release gate"):
        gate.check_release([bundle], 2**40, few, limits)
    with (directory / MANIFEST_NAME).open("a") as manifest:
        manifest.write(" ")
    gate.check_release([bundle], 2**40, few, limits)  # nothing there that it could trust


def test_no_rollback_in_either_direction_to_what_was_changed(tmp_path):
    bundle = tmp_path / "books"
    old, new = publish_listed(bundle, 3), publish_listed(bundle, 5)
    (old / "more.txt").touch()
    with pytest.raises(CorruptArtifact, match=r"more\.txt: is not listed"):
        roll_back(bundle)
    assert pinned_version(bundle) is None
    (old / "more.txt").unlink()
    assert roll_back(bundle) == 3
    (new / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(CorruptArtifact, match="does not match its checksum"):
        undo_rollback(bundle)
    assert pinned_version(bundle) == 3
