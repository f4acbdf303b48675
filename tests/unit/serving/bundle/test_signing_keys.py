"""Signatures of versions: who published them, and whom a loader believes."""

import json
import shutil
import subprocess

import pytest

from serving.bundle import signing_keys
from serving.bundle.integrity import (
    CHECKSUMS_NAME,
    SIGNATURE_NAME,
    verified_manifest,
    verify_version,
    write_checksums,
)
from serving.bundle.versions import list_versions
from serving.refresh.refresh import refresh_bundles
from serving.refresh.refreshed_release import RefreshRequest
from tests.fixtures.small_release import publish_release
from tests.unit.serving.fake_versions import key_pair, publish_listed
from tfrs_twotower.artifacts import MANIFEST_NAME
from tfrs_twotower.errors import ConfigError, CorruptArtifact


def test_a_signature_is_one_that_a_stranger_verifies(tmp_path, monkeypatch):
    private, public = key_pair(tmp_path, "ours")
    monkeypatch.setenv(signing_keys.SIGNING_KEY, str(private))
    version = publish_listed(tmp_path / "books", 7)
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin"]
    files = ["-in", str(version / CHECKSUMS_NAME), "-sigfile", str(version / SIGNATURE_NAME)]
    assert subprocess.run([*verify, *files], capture_output=True, check=False).returncode == 0
    assert verify_version(version, signing_keys.trusted_key()).is_signed
    for path in (version / CHECKSUMS_NAME, version / MANIFEST_NAME):
        assert private.name not in path.read_text()


def test_only_a_signature_notices_who_changes_file_and_list(tmp_path, monkeypatch):
    private, public = key_pair(tmp_path, "ours")
    monkeypatch.setenv(signing_keys.SIGNING_KEY, str(private))
    version = publish_listed(tmp_path / "books", 7)
    monkeypatch.delenv(signing_keys.SIGNING_KEY)
    manifest = json.loads((version / MANIFEST_NAME).read_text())
    manifest["details"]["measures"] = {"recall@10": 1.0}
    (version / MANIFEST_NAME).write_text(json.dumps(manifest))
    signature = (version / SIGNATURE_NAME).read_bytes()
    write_checksums(version)
    assert verified_manifest(version).details["measures"] == {"recall@10": 1.0}
    monkeypatch.setenv(signing_keys.VERIFY_KEY, str(public))
    with pytest.raises(CorruptArtifact, match="7: is not signed, and a key was given"):
        verified_manifest(version)
    (version / SIGNATURE_NAME).write_bytes(signature)
    with pytest.raises(CorruptArtifact, match="not the signature of SHA256SUMS by the given"):
        verified_manifest(version)


@pytest.mark.parametrize(
    ("bundle", "number", "message"),
    [
        ("books", "9", "was signed as version 7 of 'books', and lies here as version 9 of 'books'"),
        ("films", "7", "was signed as version 7 of 'books', and lies here as version 7 of 'films'"),
    ],
)
def test_a_signed_version_stays_what_it_is(tmp_path, monkeypatch, bundle, number, message):
    """Who renames an old version to the newest number, or another model's, breaks no signature."""
    private, _ = key_pair(tmp_path, "ours")
    monkeypatch.setenv(signing_keys.SIGNING_KEY, str(private))
    version = publish_listed(tmp_path / "books", 7)
    (tmp_path / bundle).mkdir(exist_ok=True)
    shutil.move(version, tmp_path / bundle / number)
    with pytest.raises(CorruptArtifact, match=message):
        verified_manifest(tmp_path / bundle / number)


def test_who_signs_trusts_own_versions_only(tmp_path, monkeypatch):
    """Otherwise a refresh would sign what somebody else put there."""
    ours, _ = key_pair(tmp_path, "ours")
    theirs, public = key_pair(tmp_path, "theirs")
    monkeypatch.setenv(signing_keys.SIGNING_KEY, str(theirs))
    version = publish_listed(tmp_path / "books", 7)
    monkeypatch.setenv(signing_keys.SIGNING_KEY, str(ours))
    with pytest.raises(CorruptArtifact, match="another key signed it"):
        verified_manifest(version)
    monkeypatch.setenv(signing_keys.VERIFY_KEY, str(public))
    assert verified_manifest(version).counts["version"] == 7


@pytest.mark.parametrize("variable", [signing_keys.SIGNING_KEY, signing_keys.VERIFY_KEY])
@pytest.mark.parametrize("content", [None, b"", b"not a key", "rsa", "encrypted"])
def test_what_is_no_key(tmp_path, monkeypatch, variable, content):
    version, path = publish_listed(tmp_path / "books", 7), tmp_path / "key.pem"
    command = {
        "rsa": ["genpkey", "-algorithm", "rsa", "-out", str(path)],
        "encrypted": ["genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x"],
    }
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        out = [] if content == "rsa" else ["-out", str(path)]
        subprocess.run(["openssl", *command[content], *out], check=True, capture_output=True)
    monkeypatch.setenv(variable, str(path))
    kind = "private" if variable == signing_keys.SIGNING_KEY else "public"
    message = rf"key\.pem \(\${variable}\): holds no Ed25519 {kind} key in PEM form: .*`openssl gen"
    with pytest.raises(ConfigError, match=message):
        verified_manifest(version)


def test_an_export_and_its_refresh_are_signed(whole_release, tmp_path, monkeypatch):
    """A refresh of what another key signed publishes nothing; nor does a key that is none."""
    ours, public = key_pair(tmp_path, "ours")
    theirs, _ = key_pair(tmp_path, "theirs")
    bundle, request = tmp_path / "small", RefreshRequest(withdrawn=["c00"])
    monkeypatch.setenv(signing_keys.SIGNING_KEY, str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"none\.pem .*holds no Ed25519 private key"):
        publish_release(bundle, whole_release)
    assert not bundle.exists()
    monkeypatch.setenv(signing_keys.SIGNING_KEY, str(ours))
    exported = publish_release(bundle, whole_release)
    monkeypatch.setenv(signing_keys.SIGNING_KEY, str(theirs))
    with pytest.raises(CorruptArtifact, match="another key signed it"):
        refresh_bundles([bundle], request)
    assert list_versions(bundle) == [exported.version]
    monkeypatch.setenv(signing_keys.SIGNING_KEY, str(ours))
    (refreshed,) = refresh_bundles([bundle], request)
    key = signing_keys.read_public_key(public, "--key")
    for written in (exported, refreshed.written):
        assert verify_version(written.directory, key).is_signed
        assert ours.name not in (written.directory / MANIFEST_NAME).read_text()
