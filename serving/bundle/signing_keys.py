"""The keys of whoever publishes versions and whoever loads them: Ed25519, in PEM files.

The environment names the files, because every command that publishes signs and every command that
loads verifies; a key is in no config and in no manifest. A public key is enough to verify: a host
that serves cannot sign.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tfrs_twotower.environment import require_extra
from tfrs_twotower.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNING_KEY, VERIFY_KEY = "TWOTOWER_SIGNING_KEY", "TWOTOWER_VERIFY_KEY"
"""Environment variables: the file of the private key that signs what this process publishes, and of
the public key that must have signed what it loads."""


def signing_key() -> "Ed25519PrivateKey | None":
    """The key that signs what this process publishes; None if the environment names none.

    Raises:
        ConfigError: the file cannot be read, or holds no Ed25519 private key without a password.
        MissingExtra: the package that signs is not installed.
    """
    text = os.environ.get(SIGNING_KEY, "")
    if not text:
        return None
    require_extra("signing", "cryptography", needed_by="Signing a version")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = Path(text)
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as cause:
        raise _no_key(path, f"${SIGNING_KEY}", "private", str(cause)) from cause
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, f"${SIGNING_KEY}", "private", f"found a {type(key).__name__}")
    return key


def trusted_key() -> "Ed25519PublicKey | None":
    """The key that must have signed what this process loads.

    That of `TWOTOWER_VERIFY_KEY`; otherwise whoever signs trusts versions of the same key only, so
    that a refresh never signs what somebody else put there.

    Returns:
        None if the environment names neither key.

    Raises:
        ConfigError, MissingExtra: see `read_public_key` and `signing_key`.
    """
    if path := os.environ.get(VERIFY_KEY, ""):
        return read_public_key(Path(path), f"${VERIFY_KEY}")
    own = signing_key()
    return None if own is None else own.public_key()


def read_public_key(path: Path, source: str) -> "Ed25519PublicKey":
    """Reads a PEM file, as `openssl pkey -pubout` writes it.

    Args:
        path: the file.
        source: the option or variable that named it, for messages.

    Raises:
        ConfigError: the file cannot be read, or holds no Ed25519 public key.
        MissingExtra: the package that verifies is not installed.
    """
    require_extra("signing", "cryptography", needed_by="Verifying a signature")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as cause:
        raise _no_key(path, source, "public", str(cause)) from cause
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, source, "public", f"found a {type(key).__name__}")
    return key


def _no_key(path: Path, source: str, kind: str, found: str) -> ConfigError:
    return ConfigError(
        f"{path} ({source}): holds no Ed25519 {kind} key in PEM form: {found}. `openssl genpkey "
        "-algorithm ed25519 -out private.pem` makes a private key, `openssl pkey -in private.pem "
        "-pubout -out public.pem` its public key."
    )
