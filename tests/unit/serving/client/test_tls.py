"""The client over TLS, against servers with certificates that the test makes."""

import json
import re
import shutil
import ssl
import subprocess
import sys
from importlib import util
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from serving.client.client import Client, Recommendations
from serving.client.sharded_client import ShardedClient
from serving.client.tls import Tls
from tests.unit.pipelines.cli.command import twotower
from tests.unit.serving.fake_endpoint import FakeModel, grpc_endpoint, rest_endpoint
from tests.unit.serving.fake_versions import publish_fake
from tfrs_twotower.errors import EndpointError

ANSWER = [Recommendations(["b", "ä"], [2.0, 1.0], "7-abc")]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An authority (`ca`), and the certificates and keys that it signed: `server`, `client`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for name in ("ca", "other"):
        openssl(
            *("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt"),
            *("-subj", f"/CN={name}", "-days", "2"),
        )
    for name in ("server", "client"):
        openssl(
            *("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt"),
            *("-CA", "ca.crt", "-CAkey", "ca.key", "-subj", f"/CN={name}", "-days", "2"),
            *("-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"),
        )
    openssl("pkey", "-in", "client.key", "-aes256", "-passout", "pass:x", "-out", "locked.key")
    manual = (Path(__file__).parents[4] / "docs" / "serving.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(# writes ssl\.config.*?)```", manual, re.DOTALL)
    subprocess.run([sys.executable, "-c", block], cwd=directory, check=True)
    return directory


@pytest.fixture
def tls(files):
    return Tls(ca=files / "ca.crt")


def ssl_config(files, *, client_verify):
    """What docs/serving.md writes for `--ssl_config_file`, read as TensorFlow Serving reads it."""
    text = (files / "ssl.config").read_text()
    if client_verify:
        text = text.replace("client_verify: false", "client_verify: true")
        text += f"custom_ca: {json.dumps((files / 'ca.crt').read_text())}\n"
    return text_format.Parse(text, ssl_config_message())


def ssl_config_message():
    """A `tensorflow.serving.SSLConfig`; no package has a class of it."""
    pool = descriptor_pool.DescriptorPool()
    strings = "".join(
        f'field {{ number: {number} name: "{name}" type: TYPE_STRING }} '
        for number, name in enumerate(("server_key", "server_cert", "custom_ca"), 1)
    )
    flag = 'field { number: 4 name: "client_verify" type: TYPE_BOOL }'
    message = f'message_type {{ name: "SSLConfig" {strings} {flag} }}'
    declaration = f'name: "ssl_config.proto" syntax: "proto3" {message}'
    pool.Add(text_format.Parse(declaration, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("SSLConfig"))()


def credentials(files, *, client_verify=False):
    config = ssl_config(files, client_verify=client_verify)
    pair = (config.server_key.encode(), config.server_cert.encode())
    authority = config.custom_ca.encode() if config.client_verify else None
    return grpc.ssl_server_credentials([pair], authority, config.client_verify)


def context(files):
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(files / "server.crt", files / "server.key")
    return made


def test_grpc_and_rest_are_answered_encrypted(files, tls):
    for endpoint in (
        grpc_endpoint(FakeModel(), credentials(files)),
        rest_endpoint(FakeModel(), context(files)),
    ):
        with endpoint as target, Client(target, timeout_s=20.0, tls=tls) as client:
            assert target.startswith(("grpcs://", "https://"))
            assert client.recommend({"user_id": ["u1"]}) == ANSWER
    with (
        grpc_endpoint(FakeModel(), credentials(files)) as target,
        ShardedClient([target], k=2, timeout_s=20.0, tls=tls) as client,
    ):
        assert client.recommend({"user_id": ["u1"]}) == ANSWER


def test_a_server_that_another_authority_signed_is_not_spoken_to(files):
    model = FakeModel()
    for endpoint in (
        grpc_endpoint(model, credentials(files)),
        rest_endpoint(model, context(files)),
    ):
        tls = Tls(ca=files / "other.crt")
        with (
            endpoint as target,
            Client(target, timeout_s=2.0, tls=tls) as client,
            pytest.raises(EndpointError, match=r"UNAVAILABLE: .*(?i:certificate|handshake)"),
        ):
            client.recommend({"user_id": ["u1"]})
    assert model.num_metadata_requests == 0


def test_a_server_may_ask_for_the_clients_certificate(files, tls):
    own = Tls(files / "ca.crt", files / "client.crt", files / "client.key")
    with grpc_endpoint(FakeModel(), credentials(files, client_verify=True)) as target:
        with Client(target, timeout_s=20.0, tls=own) as client:
            assert client.recommend({"user_id": ["u1"]}) == ANSWER
        with Client(target, timeout_s=2.0, tls=tls) as client, pytest.raises(EndpointError):
            client.recommend({"user_id": ["u1"]})


@pytest.mark.skipif(util.find_spec("locust") is None, reason="locust is not installed")
def test_a_load_test_over_tls(files, tmp_path, monkeypatch, capsys):
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"user_id": "u1"}\n')
    for endpoint in (
        grpc_endpoint(FakeModel(), credentials(files)),
        rest_endpoint(FakeModel(), context(files)),
    ):
        with endpoint as target:
            result = twotower(
                *(monkeypatch, capsys, "load-test", target, "--queries", queries, "--json"),
                *("--users", 1, "--duration", 1, "--tls-ca", files / "ca.crt"),
            )
        assert result.code == 0, result.err
        assert json.loads(result.out)["num_answers"] > 0
        assert json.loads(result.out)["errors"] == {}


def test_the_canary_takes_certificates(files, tmp_path, monkeypatch, capsys):
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"user_id": "u1"}\n')
    bundle = publish_fake(tmp_path / "shop", 7).parent
    result = twotower(
        *(monkeypatch, capsys, "recall-check", "grpc://localhost:1/shop", "--bundle", bundle),
        *("--queries", queries, "--tls-ca", files / "ca.crt"),
    )
    assert result.code == 2
    assert "certificates are given, but grpc:// does not encrypt" in result.err


@pytest.mark.parametrize(
    ("target", "names", "message"),
    [
        ("grpc://h:1/m", {"ca": "ca.crt"}, "certificates are given, but grpc:// does not encrypt"),
        ("http://h:1/m", {"ca": "ca.crt"}, "http:// does not encrypt. Write https://, or leave"),
        ("grpcs://h:1/m", {"ca": "none.crt"}, r"none\.crt: no certificates in PEM form: .*No such"),
        ("https://h:1/m", {"ca": "ca.key"}, r"ca\.key: no certificates in PEM form"),
        ("grpcs://h:1/m", {"key": "client.key"}, "key is given without its certificate; give both"),
        (
            "grpcs://h:1/m",
            {"certificate": "client.crt", "key": "server.key"},
            r"client\.crt, .*server\.key: not a certificate and its private key in PEM form",
        ),
        (
            "grpcs://h:1/m",
            {"certificate": "client.crt", "key": "locked.key"},
            "the key is encrypted; a key without a password is needed",
        ),
    ],
)
def test_what_cannot_encrypt_is_said_before_anything_is_sent(files, target, names, message):
    with pytest.raises(EndpointError, match=message):
        Client(target, tls=Tls(**{name: files / file for name, file in names.items()}))
