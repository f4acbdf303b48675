"""The local server does what docs/serving.md says of it: each row that is equal is a check."""

import re
from pathlib import Path

import pytest

from serving.server.local_server import ServerOptions, running
from serving.server.models import from_directory
from tests.fixtures.like_tensorflow_serving import CHECKS, grpc, rest  # noqa: F401
from tests.fixtures.served_model import write_corrupt_version, write_version
from tests.fixtures.wire import Wire

pytestmark = [pytest.mark.local_server, pytest.mark.integration]
DOCS = Path(__file__).parents[2] / "docs" / "serving.md"


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    write_version(root / "Shop", 3)
    write_version(root / "Shop", 7)
    (root / "Shop" / "notes").mkdir()
    (root / "Broken").mkdir()
    write_corrupt_version(root / "Broken", 1)
    with running(ServerOptions(from_directory(root / "Shop"), 0, 0, poll_s=3600.0)) as server:
        wire = Wire(server.grpc_port, server.rest_port, root)
        yield wire
        wire.close()


@pytest.mark.parametrize("sentence", CHECKS)
def test_as_tensorflow_serving(sentence, wire):
    CHECKS[sentence](wire)


def test_the_table_has_a_row_for_each_check():
    text = DOCS.read_text(encoding="utf-8").partition("## The local server beside")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if re.match(r"\| (?!TensorFlow|what|---)", line)
    ]
    equal = [sentence for sentence, _, local in rows if local == "equal"]
    assert equal == list(dict.fromkeys(equal))
    assert set(equal) == set(CHECKS)
    assert len(equal) >= 30
    for sentence, source, local in rows:
        assert re.fullmatch(r"`[\w/]+\.(cc|h)`(, `[\w/]+\.(cc|h)`)*", source), sentence
        assert local == "equal" or len(local.split()) > 5, f"{sentence}: no reason is given"
