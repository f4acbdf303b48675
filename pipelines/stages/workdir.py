"""The working directory of a run: writable, one run at a time, and the time of each stage."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.stages.context import Reporter
from tfrs_twotower.errors import WorkdirError

LOCK_NAME = ".lock"
_SECONDS_BETWEEN_LOOKS = 0.5
TIMINGS_NAME = "timings.json"


def open_workdir(path: Path) -> Path:
    """Makes the directory if it is not there, and returns its absolute path.

    Raises:
        WorkdirError: it cannot be made, or not be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        what = "is a file" if path.is_file() else f"cannot be made: {cause.strerror}"
        raise WorkdirError(
            f"{path}: the working directory {what}. Name a directory that you may write in."
        ) from cause
    if not os.access(path, os.W_OK | os.X_OK):
        raise WorkdirError(
            f"{path}: the working directory cannot be written by this user. Name another one, or "
            "change its permissions."
        )
    return path.resolve()


def wait_until_free(root: Path, reporter: Reporter) -> None:
    """Returns as soon as no run holds the working directory.

    One that was started by a process that is gone (killed, say) ends by itself.
    """
    told = False
    while True:
        try:
            with only_run_in(root):
                return
        except WorkdirError as busy:
            if not told:
                reporter.message(f"{str(busy).partition('. Wait')[0]}; waiting until it ends")
            told = True
            time.sleep(_SECONDS_BETWEEN_LOOKS)


@contextmanager
def only_run_in(root: Path) -> Iterator[None]:
    """Holds the working directory's lock; the kernel releases it when the process ends, however.

    Raises:
        WorkdirError: another run holds it.
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
            pass  # a file system without locks, as some network mounts are
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def record(root: Path, stage: str, seconds: float) -> None:
    """Writes the duration of one stage, replacing its earlier one."""
    timings = read(root)
    timings[stage] = round(seconds, 3)
    temporary = root / f".{TIMINGS_NAME}.partial"
    temporary.write_text(json.dumps(timings, indent=2) + "\n", encoding="utf-8")
    temporary.replace(root / TIMINGS_NAME)


def read(root: Path) -> dict[str, float]:
    """Seconds by stage name; empty before the first stage ran."""
    try:
        timings = json.loads((root / TIMINGS_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {str(name): float(seconds) for name, seconds in timings.items()}
