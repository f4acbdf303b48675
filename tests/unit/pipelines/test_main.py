"""What the command does before any subcommand: how loud TensorFlow is."""

import logging
import os
import subprocess
import sys

import pytest

from pipelines.__main__ import main
from tests.packaging.fresh_process import ROOT

LOUD = """
import sys
sys.argv = ["twotower", "--version"]
from pipelines.__main__ import main
try:
    main()
except SystemExit:
    pass
import tensorflow as tf
from absl import logging
tf.get_logger().warning("a graph that works")
logging.warning("an object that works")
tf.get_logger().error("tensorflow failed")
logging.error("absl failed")
"""


@pytest.fixture
def run_main(monkeypatch):
    def run(*arguments, level=None):
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
        if level is not None:
            monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
        monkeypatch.setattr("sys.argv", ["twotower", *arguments])
        with pytest.raises(SystemExit):
            main()
        return os.environ.get("TF_CPP_MIN_LOG_LEVEL")

    before = logging.getLogger("tensorflow").level
    yield run
    logging.getLogger("tensorflow").setLevel(before)


def test_tensorflow_is_quiet_unless_asked(run_main):
    assert run_main("--version") == "3"
    assert run_main("--version", level="1") == "1"
    assert run_main("--version", "--debug") is None


def test_python_parts_of_tensorflow_say_only_what_failed():
    environment = {name: v for name, v in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", LOUD],
        capture_output=True, text=True, check=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert "that works" not in done.stderr
    assert "tensorflow failed" in done.stderr
    assert "absl failed" in done.stderr
