"""Keeps the log lines of C++ libraries (TensorFlow, ScaNN, gRPC) from burying ours.

Each library has its own copy of Abseil's logging. It writes to file descriptor 2 and obeys no
variable: `TF_CPP_MIN_LOG_LEVEL` silences another logger. So the descriptor leads to a process
that passes everything on at once except these lines. Python's own `sys.stderr` keeps the terminal.

It is a process and not a thread, because it has to outlive a crash and must not wait for the
interpreter's lock: a library that holds the lock would wait for its own reader. Where the command
ends without a word, such as by a signal, the last lines that were kept back are shown after all.
"""

import atexit
import os
import re
import signal
import sys
import time
from collections import deque
from contextlib import suppress

_ABSEIL = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:[\d.]+ +\d+ [\w./+-]+:\d+\] "
    rb"|WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
)
"""Information, warnings and errors; what fails comes as an exception too. Not F, fatal."""
_MAY_BE = re.compile(rb"[IWE](\d|$)|W(A(R(N(I(N(G(:.*)?)?)?)?)?)?)?$")
"""The start of such a line; until the rest comes it is held back."""
_FAREWELL = b"\0twotower has ended"
_MOST_KEPT = 20
_CHUNK = 1 << 16
_SECONDS_TO_DRAIN = 2.0


def hide_native_log_lines() -> None:
    """Starts the filter of this process; does nothing where stderr is not a descriptor of its own.

    It has to be called before threads are started, because it forks. Children that inherit
    descriptor 2 are filtered too.
    """
    stderr = sys.__stderr__
    if not hasattr(os, "fork") or stderr is None or stderr is not sys.stderr:
        return
    try:
        if stderr.fileno() != 2:
            return
        stderr.flush()
        terminal = os.dup(2)
        reading, writing = os.pipe()
        child = os.fork()
    except (OSError, ValueError):
        return
    if not child:
        _run_filter(reading, terminal, closed=writing)
    os.close(reading)
    os.dup2(writing, 2)
    os.close(writing)
    sys.stderr = os.fdopen(
        terminal, "w", buffering=1, encoding=stderr.encoding, errors="backslashreplace"
    )
    atexit.register(_end_filter, os.getpid(), child, terminal)


def _end_filter(owner: int, child: int, terminal: int) -> None:
    """Gives descriptor 2 back, and waits until the filter has written what it was given."""
    if os.getpid() != owner:  # a fork of ours that ends
        return
    with suppress(OSError):  # the filter, or who reads its output, may have been ended
        os.write(2, _FAREWELL + b"\n")
        os.dup2(terminal, 2)
        end = time.monotonic() + _SECONDS_TO_DRAIN  # a child of ours may hold the pipe for longer
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < end:
            time.sleep(0.002)


def _run_filter(reading: int, terminal: int, *, closed: int) -> None:
    """The filter's process: reads until nobody can write any more, and never returns."""
    try:
        for number in (0, 1, closed):  # who reads our standard output waits for its last holder
            with suppress(OSError):
                os.close(number)
        os.dup2(terminal, 2)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)  # it ends when those end that write
        lines = LineFilter()
        while chunk := os.read(reading, _CHUNK):
            _write(terminal, lines.passed(chunk))
        _write(terminal, lines.rest())
    finally:
        os._exit(0)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


class LineFilter:
    """Sorts out the lines of a stream that comes in pieces."""

    def __init__(self) -> None:
        self._held = b""
        self._inside = False
        self._kept: deque[bytes] = deque(maxlen=_MOST_KEPT)
        self._said_farewell = False

    def passed(self, chunk: bytes) -> bytes:
        """What is to be written after another piece of the stream.

        A line that is not whole is passed on as well, unless it may be one to keep back.
        """
        *lines, self._held = (self._held + chunk).split(b"\n")
        result = b"".join(self._of_line(line) for line in lines)
        started = self._inside or not _MAY_BE.match(self._held)
        if self._held and started and b"\0" not in self._held:
            result += self._held
            self._held, self._inside = b"", True
        return result

    def _of_line(self, line: bytes) -> bytes:
        inside, self._inside = self._inside, False
        if line.endswith(_FAREWELL):
            self._said_farewell = True
            return line.removesuffix(_FAREWELL)
        if not inside and _ABSEIL.match(line):
            self._kept.append(line + b"\n")
            return b""
        return line + b"\n"

    def rest(self) -> bytes:
        """What is to be written at the end of the stream."""
        return self._held if self._said_farewell else b"".join(self._kept) + self._held
