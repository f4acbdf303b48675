"""What became of each version: loading, available, gone, or refused and why."""

import time
from dataclasses import dataclass, field

import grpc

from tfrs_twotower.errors import ArtifactError, TwoTowerError, UnsupportedEnvironment

START, LOADING, AVAILABLE, UNLOADING, END = "START", "LOADING", "AVAILABLE", "UNLOADING", "END"
"""States of TensorFlow Serving's `ModelVersionStatus`."""

_MAX_RETRIES = 5
_RETRY_S = 60.0


@dataclass
class VersionState:
    """One version."""

    state: str
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""
    failures: int = 0
    failed_at: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether loading it failed and it is not yet time to try again."""
        if not self.failures:
            return False
        return self.failures > _MAX_RETRIES or time.monotonic() - self.failed_at < _RETRY_S


@dataclass
class VersionStates:
    """All versions of one model that are on disk or in memory."""

    of: dict[int, VersionState] = field(default_factory=dict)

    def enter(self, version: int, state: str) -> None:
        """A version enters a state without an error."""
        known = self.of.setdefault(version, VersionState(state))
        known.state, known.code, known.message = state, grpc.StatusCode.OK, ""
        if state == AVAILABLE:
            known.failures = 0

    def fail(self, version: int, error: Exception) -> None:
        """Loading a version failed."""
        known = self.of.setdefault(version, VersionState(END))
        known.state, known.code, known.message = END, _code_of(error), str(error)
        known.failures += 1
        known.failed_at = time.monotonic()

    def loadable(self, on_disk: list[int]) -> list[int]:
        """The versions on disk without those that were refused."""
        return [v for v in on_disk if v not in self.of or not self.of[v].refused]

    def forget_all_but(self, versions: set[int]) -> None:
        """Drops what is neither on disk nor in memory."""
        self.of = {version: state for version, state in self.of.items() if version in versions}


def _code_of(error: Exception) -> grpc.StatusCode:
    if isinstance(error, ArtifactError):
        return grpc.StatusCode.DATA_LOSS
    if isinstance(error, UnsupportedEnvironment):
        return grpc.StatusCode.FAILED_PRECONDITION
    return grpc.StatusCode.INTERNAL if isinstance(error, TwoTowerError) else grpc.StatusCode.UNKNOWN
