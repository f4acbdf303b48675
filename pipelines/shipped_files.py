"""The files that come with the package: feature specs, run configs, schemas, container files.

Each is known by its path in the repository, such as `pipelines/configs/movielens_100k.yaml`, and
lies in an installed package. Copies keep these paths, so that a run config finds its feature spec
and the commands of the manual work as they are written.
"""

import os
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from tfrs_twotower.environment import explain_hidden, find_hidden
from tfrs_twotower.errors import ConfigError, UnsupportedEnvironment, did_you_mean

_CONFIGS = "pipelines/configs"
_PLACES = {
    "docs/schemas": ("tfrs_twotower", "schemas"),
    "feature_specs": ("feature_specs", ""),
    _CONFIGS: ("pipelines", "configs"),
    "serving/docker": ("serving", "docker"),
}
"""Directory in the repository: the package that holds its files, and the directory there."""
_SCHEMA = "schema.json"


def shipped_files(words: Sequence[str] = ()) -> dict[str, Path]:
    """Where each file lies, by its path in the repository.

    Args:
        words: parts of paths; only files with one of them in their path are given, and the schemas
            that editors look for beside them. None gives all files.

    Raises:
        ConfigError: no file has one of the words in its path.
        UnsupportedEnvironment: another package hides one that holds the files.
    """
    every = dict(sorted(_every_file()))
    chosen = {path for path in every if not words or any(word in path for word in words)}
    for word in words:
        if not any(word in path for path in every):
            stems = {Path(path).stem for path in every}
            raise ConfigError(
                f"files {word}: no shipped file has this in its path{did_you_mean(word, stems)}; "
                "`twotower files` lists all paths."
            )
    schemas = {str(Path(path).with_name(_SCHEMA)) for path in chosen if path.endswith(".yaml")}
    return {path: place for path, place in every.items() if path in chosen | schemas}


def copy_shipped_files(words: Sequence[str], out: Path) -> list[Path]:
    """Copies files below a directory, under their paths in the repository.

    Args:
        words: which files; see `shipped_files`.
        out: the directory; it is created.

    Returns:
        The copies. A file that is there already with the same content is left alone.

    Raises:
        ConfigError: no file has one of the words in its path, or another file is in the way;
            nothing was copied.
        UnsupportedEnvironment: another package hides one that holds the files.
    """
    contents = {out / path: place.read_bytes() for path, place in shipped_files(words).items()}
    new = {path: content for path, content in contents.items() if not _holds(path, content)}
    if changed := sorted(str(path) for path in new if os.path.lexists(path)):
        raise ConfigError(
            f"--out {out}: found other content in {', '.join(changed)}. Nothing was copied. Name "
            "another directory, or move what is there."
        )
    for path, content in new.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(content)
        partial.replace(path)
    return list(contents)


def run_config_names() -> list[str]:
    """Names of the shipped run configs, sorted."""
    return sorted(path.stem for path in _directory(_CONFIGS).glob("*.yaml"))


def find_run_config(path: Path) -> Path:
    """The file itself if there is one, else the shipped run config of that name.

    Args:
        path: of a run config, or the name of a shipped one, in which hyphens may replace
            underscores, as in the names of data sets.

    Raises:
        ConfigError: it is neither.
    """
    if path.exists() and not (_is_name(path) and path.is_dir()):
        return path
    names = run_config_names()
    name = path.stem.replace("-", "_").lower()
    if _is_name(path):
        if name in names:
            return _directory(_CONFIGS) / f"{name}.yaml"
        raise ConfigError(
            f"{path}: there is no such file, and no run config of that name comes with this "
            f"package{did_you_mean(name, names)}; allowed: the path of a run config, or one of "
            f"{', '.join(names)}. `twotower init` writes one from your tables."
        )
    if name in names:
        raise ConfigError(
            f"{path}: there is no such file. A run config that comes with this package is named "
            f"without directory and suffix: {name}; `twotower files {name} --out .` copies it here."
        )
    return path  # whoever reads it says that it is missing


def _is_name(path: Path) -> bool:
    return len(path.parts) == 1 and not path.suffix


def _every_file() -> Iterator[tuple[str, Path]]:
    for shown in _PLACES:
        directory = _directory(shown)
        for path in directory.rglob("*"):
            inside = path.relative_to(directory)
            if path.is_file() and path.suffix != ".py" and "__pycache__" not in inside.parts:
                yield f"{shown}/{inside.as_posix()}", path


def _directory(shown: str) -> Path:
    package, inside = _PLACES[shown]
    if hidden := find_hidden([package]):
        raise UnsupportedEnvironment(explain_hidden(hidden))
    return Path(str(resources.files(package))) / inside


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
