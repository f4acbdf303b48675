"""Published versions without a model in them: a file and a manifest; and keys that sign them."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from serving.bundle.integrity import write_checksums
from tfrs_twotower.artifacts import MANIFEST_NAME, seal


def publish_fake(bundle, version, candidates=100, k=10, parents=(), **details):
    directory = bundle / str(version)
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"%d" % version)
    seal(
        directory,
        kind="bundle",
        spec_fingerprint="s",
        config_fingerprint="c",
        parents=dict(parents),
        counts={"version": version, "candidates": candidates, "k": k},
        details=details,
    )
    return directory


def key_pair(directory: Path, name: str) -> tuple[Path, Path]:
    """Files of a private and a public key, made by openssl as the documentation says."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    private, public = directory / f"{name}.pem", directory / f"{name}.pub"
    for arguments in (
        ["genpkey", "-algorithm", "ed25519", "-out", str(private)],
        ["pkey", "-in", str(private), "-pubout", "-out", str(public)],
    ):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    return private, public


def publish_listed(bundle: Path, number: int) -> Path:
    """A fake version with an asset, `assets/words.txt`, and a list of checksums."""
    directory = publish_fake(bundle, number, name=bundle.name)
    (directory / "assets").mkdir()
    (directory / "assets" / "words.txt").write_text("a\nb\n")
    manifest = json.loads((directory / MANIFEST_NAME).read_text())
    manifest["files"]["assets/words.txt"] = {
        "sha256": hashlib.sha256(b"a\nb\n").hexdigest(),
        "size_bytes": 4,
    }
    (directory / MANIFEST_NAME).write_text(json.dumps(manifest))
    write_checksums(directory)
    return directory
