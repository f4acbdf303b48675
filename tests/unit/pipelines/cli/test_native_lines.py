"""The log lines of C++ libraries: kept back, and nothing else is, nor anything of a crash."""

import os
import re
import subprocess
import sys

import pytest

from pipelines.cli.native_lines import LineFilter
from tests.packaging.fresh_process import ROOT

NOISE = b"W0000 00:00:1758131437.297298 3722519 loop_optimizer.cc:934] Skipping a Merge node\n"
LATER = b"I1114 09:32:22.280168   13509 tpu/plug-in_2.cc:44] Registered\n"
BANNER = b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
FATAL = b"F0000 00:00:1758131437.297298 3722519 check.cc:1] Check failed: x\n"
STARTED = """
import os, sys
sys.argv = ["twotower", *os.environ["ARGUMENTS"].split()]
from pipelines.__main__ import main
try:
    main()
except SystemExit:
    pass
"""
WRITES = f"""
os.write(2, {NOISE!r} + b"native\\nnot wh")
os.write(2, b"ole\\n")
os.system("echo a child >&2")
print("ours", file=sys.stderr)
"""
SCANN = """
import numpy as np
from scann.scann_ops.py import scann_ops_pybind
vectors = np.random.default_rng(0).normal(size=(200, 8)).astype("f4")
scann_ops_pybind.builder(vectors, 5, "dot_product").score_ah(
    2, anisotropic_quantization_threshold=0.2
).build()
"""


def passed(*chunks):
    lines = LineFilter()
    return b"".join([*(lines.passed(chunk) for chunk in chunks), lines.rest()])


def written(then, arguments="--version", **environment):
    quiet = {name: v for name, v in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", STARTED + then],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=300,
        env={**quiet, "ARGUMENTS": arguments, **environment},
    )  # fmt: skip
    return done.stderr, done.returncode


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_only_their_lines_are_kept_back_however_the_stream_is_cut(size):
    kept = b"Info: ours\nE0000 is our title\nWARNING: All is lost\nWARN\n" + FATAL + b"I0000 say\n"
    stream = BANNER + kept.replace(b"WARN\n", NOISE + b"WARN\n" + LATER)
    ended = stream + b"\0twotower has ended\n"
    assert passed(*(ended[i : i + size] for i in range(0, len(ended), size))) == kept


def test_what_is_no_start_of_theirs_is_passed_on_before_its_line_ends():
    lines = LineFilter()
    assert lines.passed(b"Continue? ") == b"Continue? "
    assert lines.passed(NOISE) == NOISE  # on the same line
    assert lines.passed(b"W") == b""
    assert lines.passed(b"hat") == b"What"


def test_the_last_lines_are_shown_where_the_end_was_not_said():
    many = [NOISE.replace(b"934", b"%d" % number) for number in range(30)]
    assert passed(*many, b"\0twotower has ended\n") == b""
    assert passed(*many) == b"".join(many[-20:])


def test_a_process_shows_its_own_lines_those_of_its_children_and_of_libraries():
    stderr, code = written(WRITES)
    assert sorted(stderr.splitlines()) == ["a child", "native", "not whole", "ours"]
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [("--version --debug", {}), ("--version", {"TF_CPP_MIN_LOG_LEVEL": "0"})],
)
def test_who_asks_for_them_gets_them(arguments, environment):
    assert NOISE.decode() in written(WRITES, arguments, **environment)[0]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("os.abort()", "Fatal Python error: Aborted"),
        ("os.kill(os.getpid(), 9)", ""),
        ("import ctypes; ctypes.string_at(0)", "Fatal Python error: Segmentation fault"),
    ],
)
def test_a_crash_loses_nothing(end, message):
    stderr, code = written(WRITES + end, PYTHONFAULTHANDLER="1")
    assert code < 0
    assert message in stderr
    assert NOISE.decode() in stderr  # perhaps the reason


def test_a_traceback_is_whole():
    stderr, code = written("raise ValueError('ours')")
    assert re.search(r'Traceback .*File "<string>".*ValueError: ours\n', stderr, re.DOTALL)
    assert code == 1


def test_scann_builds_in_silence():
    stderr, code = written(SCANN)
    assert (stderr, code) == ("", 0)
