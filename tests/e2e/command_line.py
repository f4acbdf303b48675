"""Starting `twotower` in a process of its own, as its user does."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.e2e.own_tables import write_own_tables

TWOTOWER = Path(sys.executable).with_name("twotower")
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def twotower(*arguments: object, code: int = 0, **environment: str) -> subprocess.CompletedProcess:
    """Runs a command to its end and checks its exit code."""
    result = subprocess.run(
        [TWOTOWER, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**ENVIRONMENT, **environment},
    )
    assert result.returncode == code, f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


def kill_when(line_begins: str, there_is: Path, *arguments: object) -> None:
    """Starts a command and kills it, it alone, after a line of progress, once a file is there."""
    process = subprocess.Popen(
        [TWOTOWER, *map(str, arguments)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith(line_begins):
                break
        while not there_is.exists() and process.poll() is None:
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()


def init_library(directory: Path) -> str:
    """Writes the library's tables and lets `init` describe them; returns the run config's path."""
    loans, books, readers = write_own_tables(directory / "tables")
    started = twotower(
        "init",
        "--interactions", loans, "--candidates", books, "--queries", readers,
        "--out", directory, "--name", "library", "--json",
    )  # fmt: skip
    return json.loads(started.stdout)["run"]
