"""Errors that are the user's to fix: data, configuration, artifacts, environment.

    TwoTowerError
    |-- FeatureSpecError        the feature spec is wrong, or does not fit the data
    |-- ConfigError             the run config is wrong, or does not fit the spec
    |-- DataError               a table cannot be read, or too many of its records are bad
    |-- RecordError             one record is bad (it is quarantined, not raised to the user)
    |-- ArtifactError
    |   |-- MissingArtifact     a stage's input is not there
    |   |-- StaleArtifact       a stage's input was made from something else
    |   `-- CorruptArtifact     a file does not match its checksum
    |-- TrainingError           training diverged or cannot start
    |-- EmbeddingError          an embedding is NaN or has norm zero
    |-- IndexQualityError       the index missed its overlap with exact search
    |-- ComparisonError         a run of a comparison failed, or two runs cannot be compared
    |-- BundleError             a bundle cannot be built, loaded or queried
    |-- EndpointError           a model server cannot be reached, or refuses a request
    |-- WorkdirError            the working directory cannot be written, or is in use
    `-- UnsupportedEnvironment  a package or a CPU feature is missing
        `-- MissingExtra        packages of an extra are not installed

Mistakes of the programmer stay `TypeError` and `ValueError`. A message has four parts: where,
what was found, what is allowed, what to do.
"""

import difflib
from collections.abc import Iterable


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
    """A file does not match the checksum in its manifest."""


class TrainingError(TwoTowerError):
    """Training diverged or cannot start."""


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
