"""Puts each fault into a copy of the repository, runs the tests that should notice, says which did.

    python -m tests.sabotage                      # all, about half an hour
    python -m tests.sabotage --only '*EASE*'      # those whose name matches
    python -m tests.sabotage --list

A fault is killed if a test fails, and alive if all of them pass. The exit code is 1 if one is
alive. The same tests must pass without a fault: they run once before the first one is put in.
"""

import argparse
import fnmatch
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.sabotage.faults import ROOT, Fault, read_faults

_COPIED = ("tfrs_twotower", "serving", "pipelines", "tests", "feature_specs", "docs")
_TIMEOUT_S = 900
_ALL_PASSED, _A_TEST_FAILED = 0, 1
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What the tests said of one copy."""

    code: int | None
    """pytest's exit code; None if it did not end in time."""
    noticed_by: str
    output: str
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the faults and prints one line for each; returns the exit code."""
    options = _parse(arguments)
    faults = [f for f in read_faults() if fnmatch.fnmatch(f.name.lower(), options.only.lower())]
    if options.list or not faults:
        _say("\n".join(f"{fault.file}: {fault.name}" for fault in faults))
        return 0 if faults else 2
    with tempfile.TemporaryDirectory(prefix="sabotage-") as scratch:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(options.jobs):
            copies.put(_copy(Path(scratch) / str(number)))
        if not options.unchecked:
            _must_pass(copies, faults)
        alive = run_all(copies, faults, options.jobs)
    _say(f"\n{len(faults)} faults: {len(faults) - len(alive)} killed, {len(alive)} alive")
    for name in alive:
        _say(f"alive: {name}")
    return 1 if alive else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run_all(copies: "queue.SimpleQueue[Path]", faults: list[Fault], jobs: int) -> list[str]:
    """Puts each fault into a copy, runs its tests, and prints a line.

    Args:
        copies: copies of the repository, one for each job.
        faults: the faults.
        jobs: faults that are tried at the same time.

    Returns:
        The names of those that no test noticed.

    Raises:
        RuntimeError: pytest could not run.
    """
    alive = []
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(_try, copies, fault): fault for fault in faults}
        for done in as_completed(running):
            fault, outcome = running[done], done.result()
            if outcome.code not in (_ALL_PASSED, _A_TEST_FAILED, None):
                pool.shutdown(cancel_futures=True)
                raise RuntimeError(
                    f"fault '{fault.name}': pytest ended with {outcome.code}; it can be neither "
                    f"killed nor alive. Mend the fault or its tests.\n{outcome.output}"
                )
            if outcome.code == _ALL_PASSED:
                alive.append(fault.name)
            said = "ALIVE" if outcome.code == _ALL_PASSED else outcome.noticed_by
            _say(f"{outcome.seconds:5.0f} s  {fault.name}  ->  {said}")
    return sorted(alive)


def _try(copies: "queue.SimpleQueue[Path]", fault: Fault) -> Outcome:
    copy = copies.get()
    try:
        with _edited(copy, fault):
            return _pytest(copy, fault.tests)
    finally:
        copies.put(copy)


def _must_pass(copies: "queue.SimpleQueue[Path]", faults: list[Fault]) -> None:
    copy = copies.get()
    outcome = _pytest(copy, sorted({test for fault in faults for test in fault.tests}))
    copies.put(copy)
    if outcome.code != _ALL_PASSED:
        raise RuntimeError(f"the tests fail without a fault:\n{outcome.output}")
    _say(f"{outcome.seconds:5.0f} s  without a fault every test passes")


@contextmanager
def _edited(copy: Path, fault: Fault):
    path = copy / fault.file
    before = path.read_text(encoding="utf-8")
    try:
        _replace(path, fault.applied_to(before))
        yield
    finally:
        _replace(path, before)


def _replace(path: Path, text: str) -> None:
    """Writes a source file and forgets its bytecode, which may be as old and as long as the new."""
    path.write_text(text, encoding="utf-8")
    for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        cached.unlink()


def _copy(destination: Path) -> Path:
    destination.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in _COPIED:
        shutil.copytree(ROOT / name, destination / name, ignore=ignored)
    for path in [*ROOT.glob("*.toml"), *ROOT.glob("*.md"), *ROOT.glob("*.txt")]:
        shutil.copy2(path, destination)
    return destination


def _pytest(copy: Path, tests: Sequence[str]) -> Outcome:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m"]
    started = time.monotonic()
    try:
        done = subprocess.run(
            [*command, "not slow and not gpu and not runners", *tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return Outcome(None, f"no end within {_TIMEOUT_S} s", "", time.monotonic() - started)
    failed = _FAILED.search(done.stdout)
    return Outcome(
        done.returncode,
        failed.group(1) if failed else "",
        done.stdout[-4000:] + done.stderr[-2000:],
        time.monotonic() - started,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sabotage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="*", metavar="PATTERN", help="glob of names")
    parser.add_argument("--list", action="store_true", help="print the faults and run nothing")
    parser.add_argument("--jobs", type=int, default=1, help="faults tried at the same time")
    parser.add_argument(
        "--unchecked", action="store_true", help="do not first run the tests without a fault"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
