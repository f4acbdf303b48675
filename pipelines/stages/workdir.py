"""The working directory of a run: its lock, and the durations of the stages."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.progress import Reporter
from tfrs_twotower.errors import WorkdirError

LOCK_NAME = ".lock"
_SECONDS_BETWEEN_TRIES = 0.5
TIMINGS_NAME = "timings.json"


def open_workdir(path: Path) -> Path:
    """Creates the directory if it does not exist, and returns its absolute path.

    Raises:
        WorkdirError: the directory cannot be created or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        problem = "is a file" if path.is_file() else f"cannot be made: {cause.strerror}"
        raise WorkdirError(
            f"{path}: the working directory {problem}. Name a directory that you may write in."
        ) from cause
    if not os.access(path, os.W_OK | os.X_OK):
        raise WorkdirError(
            f"{path}: the working directory cannot be written by this user. Name another one, or "
            "change its permissions."
        )
    return path.resolve()


def wait_until_free(root: Path, reporter: Reporter) -> None:
    """Returns as soon as no run holds the working directory.

    A run whose parent process was killed ends by itself.
    """
    reported = False
    while True:
        try:
            with only_run_in(root):
                return
        except WorkdirError as busy:
            if not reported:
                reporter.message(f"{str(busy).partition('. Wait')[0]}; waiting until it ends")
            reported = True
            time.sleep(_SECONDS_BETWEEN_TRIES)


@contextmanager
def only_run_in(root: Path) -> Iterator[None]:
    """Holds the lock of the working directory; however the process ends, the kernel releases it.

    Raises:
        WorkdirError: another run holds the lock.
    """
    descriptor = os.open(root / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", errors="replace").strip()
            raise WorkdirError(
                f"{root}: another run is working here (process {holder or 'unknown'}). Wait until "
                "it ends, or name another --workdir."
            ) from None
        except OSError:
            pass  # some network file systems have no locks
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def record_duration(root: Path, stage: str, seconds: float) -> None:
    """Writes the duration of one stage in place of an earlier one."""
    timings = read_durations(root)
    timings[stage] = round(seconds, 3)
    temporary = root / f".{TIMINGS_NAME}.partial"
    temporary.write_text(json.dumps(timings, indent=2) + "\n", encoding="utf-8")
    temporary.replace(root / TIMINGS_NAME)


def read_durations(root: Path) -> dict[str, float]:
    """Seconds by name of the stage; empty before a stage has run."""
    try:
        timings = json.loads((root / TIMINGS_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {str(name): float(seconds) for name, seconds in timings.items()}
