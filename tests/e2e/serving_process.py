"""`twotower serve` in a process of its own."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.command_line import ENVIRONMENT, TWOTOWER

_END_S = 120
"""A server ends within a second; a busy machine takes longer to let it."""


@dataclass(frozen=True)
class ServingProcess:
    """A server that is ready."""

    process: subprocess.Popen
    grpc_port: int
    rest_port: int

    @property
    def ports(self) -> tuple[int, int]:
        """Of gRPC and of REST."""
        return self.grpc_port, self.rest_port

    def proposed_request(self) -> str:
        """The command that the server says to try. To be called once."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().removeprefix("Try: ")

    def private_bytes(self) -> int:
        """Memory that the process holds for itself, without pages of files."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("RssAnon")]
        return int(line.split()[1]) * 1024


@contextmanager
def serving(*arguments: object) -> Iterator[ServingProcess]:
    """Starts `twotower serve` on free ports and ends it with SIGTERM, which must end it well."""
    process = subprocess.Popen(
        [TWOTOWER, "serve", *map(str, arguments), "--grpc-port", "0", "--rest-port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines[2].startswith("ready: "), lines
        yield ServingProcess(process, *(int(line.rpartition(":")[2]) for line in lines[:2]))
        process.terminate()
        assert process.wait(timeout=_END_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
