"""What one command takes, its child processes included: CPU seconds, wall seconds, peak memory."""

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_SECONDS_BETWEEN_LOOKS = 0.1
_PROCESSES = Path("/proc")


@dataclass(frozen=True)
class Taken:
    """What a command took."""

    cpu_s: float
    """User and system seconds of it and of all its children."""
    wall_s: float
    peak_bytes: int
    """Largest resident memory of it and its children together. It is looked at ten times a second;
    pages that processes share count for each of them."""
    exit_code: int
    written_bytes: int = 0
    """Size of the artifact that it wrote."""

    def as_json(self) -> dict[str, Any]:
        """Under the names of the attributes."""
        return asdict(self)


def run(command: Sequence[str], log: Path, environment: Mapping[str, str], where: Path) -> Taken:
    """Runs a command to its end and measures it; Linux only.

    Args:
        command: program and arguments.
        log: file that gets what it prints.
        environment: variables on top of those of this process.
        where: its working directory.
    """
    start = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=where,
        )
        peak = _Peak(process.pid)
        peak.start()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here
    largest = peak.stop()
    return Taken(
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=time.monotonic() - start,
        peak_bytes=largest,
        exit_code=process.returncode,
    )


class _Peak(threading.Thread):
    """Looks at the memory of a process and its descendants until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self._largest = 0

    def run(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            self._largest = max(self._largest, resident_bytes(self._pid))

    def stop(self) -> int:
        """Returns the largest sum that was seen."""
        self._ended.set()
        self.join()
        return self._largest


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants, or the largest that one of them ever had.

    The kernel keeps the peak of each process, so that no short one is missed. (That of `wait4` will
    not do: it begins with the memory of the process that started it.)
    """
    parents = {}
    for directory in _PROCESSES.iterdir():
        if directory.name.isdigit():
            fields = _read(directory / "stat").rpartition(")")[2].split()
            if fields:
                parents[int(directory.name)] = int(fields[1])
    family = {pid}
    while more := {own for own, parent in parents.items() if parent in family} - family:
        family |= more
    now, highest = 0, 0
    for own in family:
        status = dict(
            line.split(":", 1) for line in _read(_PROCESSES / str(own) / "status").splitlines()
        )
        now += _kilobytes(status.get("VmRSS"))
        highest = max(highest, _kilobytes(status.get("VmHWM")))
    return 1024 * max(now, highest)


def _kilobytes(field: str | None) -> int:
    return int(field.split()[0]) if field else 0  # a process that has ended has none


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # the process has ended since
        return ""
