"""Arguments and output where the shell or the terminal is not what they need."""

import json
import os
import subprocess
import sys

import pytest

TITLE = "日本語の商品 é"
# A bundle that answers with what it was asked, so that no TensorFlow is loaded.
CALLS = """
import dataclasses, sys, types
import serving
names = ["candidate_ids", "scores", "titles", "model_version", "warnings"]
Answer = dataclasses.make_dataclass("Answer", names)
def ask(bundle, features, k, exclude, allow, deny, known):
    "".join([*features.values(), *exclude]).encode()  # as TensorFlow does
    return Answer([*features.values(), *exclude], [1.0, 0.5], ["TITLE"] * 2, "7", [])
serving.load_bundle = lambda path: path
sys.modules["serving.bundle.query"] = types.SimpleNamespace(ask=ask)
from pipelines.cli import arguments
from pipelines.cli.app import main
arguments.expect_bundle = lambda path: None
history, broken = sys.argv[1:]
for arguments in (["--set", history, "--exclude", " c1 "],
                  ["--set", history, "--exclude", " c1 ", "--json"], ["--set", broken]):
    sys.argv = ["twotower", "query", "bundle", *arguments]
    try:
        main()
    except SystemExit as end:
        print("rc", end.code or 0)
"""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_an_answer_in_other_alphabets(encoding):
    environment = {
        **os.environ,
        **{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        "PYTHONIOENCODING": encoding,
    }
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            CALLS.replace("TITLE", ascii(TITLE)[1:-1]),
            "history=日本",
            b"history=\xff",
        ],
        capture_output=True,
        env=environment,
        timeout=600,
        check=False,
    )
    shown, error = result.stdout.decode(encoding), result.stderr.decode(encoding)
    assert "Traceback" not in error, error
    assert (TITLE if encoding == "utf-8" else "?????? ?") in shown
    (answer,) = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
    assert answer["candidate_ids"] == ["日本", "c1"]
    assert shown.splitlines()[-1] == "rc 2"
    assert "expected UTF-8 text" in error
