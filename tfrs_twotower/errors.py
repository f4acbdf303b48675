"""Errors that are the user's to fix: data, configuration, artifacts, environment.

    TwoTowerError
    |-- FeatureSpecError        the feature spec is wrong, or does not fit the data
    |-- ConfigError             the run config is wrong, or does not fit the spec
    |-- DataError               a table cannot be read, or too many of its records are bad
    |-- RecordError             one record is bad (it is quarantined, not raised to the user)
    |-- ArtifactError
    |   |-- MissingArtifact     a stage's input is not there
    |   |-- StaleArtifact       a stage's input was made from something else
    |   |-- CorruptArtifact     a file is not what was written: its checksum, its signature
    |   `-- LostElements        a stage wrote fewer or more elements than its parents have
    |-- TrainingError           training diverged or cannot start
    |   `-- WorkerLost          another process of the training has ended
    |-- EmbeddingError          an embedding is NaN or has norm zero
    |-- IndexQualityError       the index missed its overlap with exact search
    |-- ComparisonError         a run of a comparison failed, or two runs cannot be compared
    |-- BundleError             a bundle cannot be built, loaded or queried
    |-- EndpointError           a model server cannot be reached, or refuses a request
    |-- WorkdirError            the working directory cannot be written, or is in use
    |-- SystemFailure           the operating system refused: a full disk, a permission, memory
    `-- UnsupportedEnvironment  a package or a CPU feature is missing
        `-- MissingExtra        packages of an extra are not installed

Mistakes of the programmer stay `TypeError` and `ValueError`. A message has four parts: where,
what was found, what is allowed, what to do.
"""

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator


class TwoTowerError(Exception):
    """Base of the errors that the command line turns into one line and exit code 1."""


class FeatureSpecError(TwoTowerError):
    """The feature spec is wrong, or does not fit the data."""


class ConfigError(TwoTowerError):
    """The run config is wrong, or does not fit the spec."""


class DataError(TwoTowerError):
    """A table cannot be read, or too many of its records are bad."""


class RecordError(TwoTowerError):
    """One record is bad; preprocessing quarantines it with this reason."""


class ArtifactError(TwoTowerError):
    """An artifact on disk cannot be used."""


class MissingArtifact(ArtifactError):
    """A stage's input is not there."""


class StaleArtifact(ArtifactError):
    """A stage's input was made from another spec, config or parent."""


class CorruptArtifact(ArtifactError):
    """What is there is not what was written: another checksum, signature or list of files."""


class LostElements(ArtifactError):
    """A stage wrote fewer or more elements than its parents have; the command line exits with 2."""


class TrainingError(TwoTowerError):
    """Training diverged or cannot start."""


class WorkerLost(TrainingError):
    """Another process of the training has ended; the same command goes on where it stopped."""


class EmbeddingError(TwoTowerError):
    """An embedding is NaN, infinite or has norm zero."""


class IndexQualityError(TwoTowerError):
    """The index misses its target overlap with exact search."""


class ComparisonError(TwoTowerError):
    """A run of a comparison failed, or two runs cannot be compared."""


class BundleError(TwoTowerError):
    """A bundle cannot be built, loaded or queried."""


class EndpointError(TwoTowerError):
    """A model server cannot be reached or refuses a request; the command line exits with 2."""

    def __init__(self, message: str, code: str) -> None:
        """`code` is the name of gRPC's status, such as `UNAVAILABLE`."""
        super().__init__(message)
        self.code = code


class WorkdirError(TwoTowerError):
    """The working directory cannot be written, or is in use; the command line exits with 2."""


class SystemFailure(TwoTowerError):
    """The operating system refused what a command needed; the command line exits with 2."""


class UnsupportedEnvironment(TwoTowerError):
    """A package or a CPU feature is missing; the command line exits with 2."""


class MissingExtra(UnsupportedEnvironment, ImportError):
    """Packages of an extra are not installed.

    Also an `ImportError`, because it is raised where those packages would be imported.
    """


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The hint that a message adds to an unknown name, such as ` (did you mean 'k'?)`.

    Args:
        name: the unknown name.
        known: the names that are allowed.
        cutoff: least similarity of a suggestion, 0 to 1 (`difflib`'s ratio).

    Returns:
        A hint that begins with a space, or "" if no known name is similar enough.
    """
    closest = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" (did you mean '{closest[0]}'?)" if closest else ""


_ROOM = "Free some space there, then run the same command again: what is finished is kept."
_PERMISSION = "Give this user the permission, or name another place."
_FILES = "Raise the limit (`ulimit -n`), or lower the numbers of shards."
_DEVICE = "The device or the network file system failed: the system's log says why."
_MEMORY = "End other programs, take a machine with more memory, or smaller batches."
_GONE = "Look whether something moves or removes it, then run the same command again."
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: "Name a place that is not mounted read-only.",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EIO: _DEVICE,
    errno.ESTALE: _DEVICE,
    errno.ENOMEM: _MEMORY,
    errno.ENOENT: _GONE,
}
"""What to do about each failure that is recognised in the words of another library."""
_NEVER_OF_THE_INPUT = frozenset(_ADVICE) - {errno.EACCES, errno.EPERM, errno.ENOENT}
_IN_OTHER_WORDS = {
    r"\d+ requested and \d+ written": errno.ENOSPC,  # NumPy
    r"OOM when allocating|[Ff]ailed to allocate memory|std::bad_alloc": errno.ENOMEM,  # TensorFlow
}
_WRAPPERS = ("tensorflow", "apache_beam", "pyarrow", "grpc", "safetensors", "numpy")
_BEAM = "[while running"
_NUMBER = re.compile(r"\[[Ee]rrno (\d+)\]")
_PATH_BEFORE = re.compile(r"(/[^\s;:'\"]+)['\"]?[;:] *$")
_PATH_AFTER = re.compile(r"^: *['\"]?(/[^\s;'\"]*[^\s;:,'\"\])])")


def as_system_failure(error: BaseException, where: str = "") -> SystemFailure | None:
    """Recognises a failure of the operating system, however a library has wrapped it.

    Beam passes a worker's error on as text, TensorFlow has error classes of its own, and NumPy
    counts what it could not write.

    Args:
        error: what was raised.
        where: the place to name if the error names none.

    Returns:
        The failure in a sentence: where, what, what to do. None for other errors. An error of this
        project counts only if its cause is one that no input can have, such as a full disk.
    """
    if isinstance(error, SystemFailure):
        return error
    for link in _causes(error):
        if isinstance(link, TwoTowerError):
            continue
        found = _number_and_place(link)
        if found is None or (
            isinstance(error, TwoTowerError) and found[0] not in _NEVER_OF_THE_INPUT
        ):
            continue
        number, place = found
        advice = _ADVICE.get(number, "`--debug` shows where it happened.")
        place = place or where
        return SystemFailure(f"{place}{': ' if place else ''}{os.strerror(number)}. {advice}")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _number_and_place(error: BaseException) -> tuple[int, str] | None:
    """The number of the failure, and the path that the error names or ""."""
    text = str(error)
    if isinstance(error, MemoryError):
        return errno.ENOMEM, text
    if isinstance(error, OSError):
        if error.errno in errno.errorcode:
            return int(error.errno or 0), str(error.filename or "")
    elif not (type(error).__module__.startswith(_WRAPPERS) or _BEAM in text):
        return None
    for match in _NUMBER.finditer(text):
        return int(match[1]), _place(text, os.strerror(int(match[1])))
    for number in _ADVICE:
        if (words := os.strerror(number)) in text:
            return number, _place(text, words)
    for pattern, number in _IN_OTHER_WORDS.items():
        if re.search(pattern, text):
            return number, ""
    return None


def _place(text: str, words: str) -> str:
    before, _, after = text.partition(words)
    match = _PATH_AFTER.search(after) or _PATH_BEFORE.search(before)
    return match[1] if match else ""
