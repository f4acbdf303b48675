"""`twotower serve` as its user starts and ends it."""

import json
import math
import shlex
import urllib.request

import pytest
from typer.testing import CliRunner

from pipelines.cli.app import app
from tests.e2e.serving_process import serving
from tests.fixtures.served_model import REQUEST, write_version
from tfrs_twotower.errors import BundleError

pytestmark = pytest.mark.e2e


def test_serving_from_a_config_file_until_it_is_told_to_end(tmp_path):
    write_version(tmp_path / "Shop", 4)
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "books" base_path: "{tmp_path / "Shop"}" '
        'model_platform: "tensorflow" version_labels { key: "stable" value: 4 } } }'
    )
    with serving("--model-config-file", config) as process:
        where = f"http://127.0.0.1:{process.rest_port}/v1/models/books/labels/stable:predict"
        curl, proposed, _, text = shlex.split(process.proposed_request())
        assert curl == "curl"
        missing = {"name": "", "recent": [""] * 3, "when": -(10**18), "exclude_ids": [""]}
        (row,) = json.loads(text)["instances"]
        assert math.isnan(row.pop("size"))
        assert row == missing
        with urllib.request.urlopen(proposed, text.encode(), timeout=30) as response:
            (row,) = json.load(response)["predictions"]
            assert row["candidate_ids"] == ["c0", "c1", "new4"]
        body = json.dumps({"inputs": REQUEST}).encode()
        with urllib.request.urlopen(where, body, timeout=30) as response:
            assert json.load(response)["outputs"]["model_version"][0] == "4-served"


def test_what_cannot_be_served(tmp_path):
    runner = CliRunner()
    found = runner.invoke(app, ["serve", str(tmp_path), "--grpc-port", "0", "--rest-port", "0"])
    assert isinstance(found.exception, BundleError)
    assert found.output == "", "no port is announced for what never serves"
    assert "there is no bundle" in str(found.exception)
    found = runner.invoke(app, ["serve"])
    assert found.exit_code == 2
    assert "either a directory or --model-config-file" in found.output
