"""Certificates for encrypted connections: `grpcs://` and `https://`.

TensorFlow Serving encrypts its gRPC port (`--ssl_config_file`), not its REST port; `https://` is
for a proxy before that one.
"""

import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfrs_twotower.errors import EndpointError


@dataclass(frozen=True)
class Tls:
    """Files in PEM form that a client needs; none if a public authority signed the server's."""

    ca: Path | None = None
    """Certificates of the authorities that the client trusts, instead of the public ones."""
    certificate: Path | None = None
    """The client's own certificate, for servers that ask for one (`client_verify`)."""
    key: Path | None = None
    """Its private key, without a password."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            given, missing = ("key", "certificate") if self.key else ("certificate", "key")
            raise _refused(f"the client's {given} is given without its {missing}; give both")

    def __bool__(self) -> bool:
        """Whether any file is given."""
        return any(asdict(self).values())

    def channel_credentials(self) -> Any:
        """`grpc.ChannelCredentials` of these files.

        Raises:
            EndpointError: a file cannot be read, or holds no certificate or key.
        """
        import grpc

        self.context()  # gRPC says nothing of a bad file but that the connection failed
        ca, certificate, key = (
            None if path is None else path.read_bytes()
            for path in (self.ca, self.certificate, self.key)
        )
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def context(self) -> ssl.SSLContext:
        """The files for an HTTPS connection.

        Raises:
            EndpointError: a file cannot be read, or holds no certificate or key.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as cause:
            raise _refused(f"{self.ca}: no certificates in PEM form: {cause}") from cause
        if self.certificate is not None and self.key is not None:
            try:
                context.load_cert_chain(self.certificate, self.key, _no_password)
            except OSError as cause:
                raise _refused(
                    f"{self.certificate}, {self.key}: not a certificate and its private key in PEM "
                    f"form: {cause}"
                ) from cause
        return context


def _no_password() -> str:
    raise OSError("the key is encrypted; a key without a password is needed")


def _refused(what: str) -> EndpointError:
    return EndpointError(f"TLS: {what}.", "INVALID_ARGUMENT")
