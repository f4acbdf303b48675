"""The distribution as a stranger gets it: built once, without a network, from a copy."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.packaging.fresh_process import ROOT

ROOMS = ("tfrs_twotower", "serving", "pipelines", "feature_specs")
_OF_THE_REPOSITORY = (*ROOMS, "docs", "examples", "tests")
_BUILD = "from setuptools.build_meta import build_sdist; print(build_sdist('dist'))"


def call(*command, cwd=None, code=0, **environment):
    """What a command prints, or its error where it must end with another exit code than 0."""
    result = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    assert result.returncode == code, (result.stdout + result.stderr)[-4000:]
    return result.stderr if code else result.stdout


def pip(interpreter, *arguments):
    return call(interpreter, "-m", "pip", "--disable-pip-version-check", *arguments)


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """A copy of the repository, so that nothing is left in the checkout."""
    directory = tmp_path_factory.mktemp("sources")
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, directory)
    for name in _OF_THE_REPOSITORY:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, directory / name, ignore=ignored, symlinks=True)
    return directory


@pytest.fixture(scope="session")
def sdist(sources):
    """The source distribution."""
    lines = call(sys.executable, "-c", _BUILD, cwd=sources).splitlines()
    return sources / "dist" / lines[-1]


@pytest.fixture(scope="session")
def wheel(sdist, tmp_path_factory):
    """The wheel, built from the source distribution."""
    out = tmp_path_factory.mktemp("wheel")
    offline = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet")
    pip(sys.executable, "wheel", *offline, "--wheel-dir", out, sdist)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """The interpreter of an environment with the wheel; its dependencies are those of this one.

    They are put on the path by a line in a file: such a path's own `.pth` files are not read, so an
    editable install of this repository, if there is one, is not found.
    """
    directory = tmp_path_factory.mktemp("installed")
    call(sys.executable, "-m", "venv", "--without-pip", directory)
    interpreter = directory / "bin" / "python"
    options = ("--no-deps", "--no-index", "--no-compile", "--quiet")
    pip(sys.executable, "--python", interpreter, "install", *options, wheel)
    (site,) = directory.glob("lib/python*/site-packages")
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "lent.pth").write_text("".join(f"{path}\n" for path in sorted(lent)))
    return interpreter


@pytest.fixture(scope="session")
def files_of_the_rooms():
    """Every file of the code rooms, by its path in the repository."""
    return {
        path.relative_to(ROOT).as_posix()
        for name in ROOMS
        for path in _files_below(ROOT / name)
        if "__pycache__" not in path.parts
    }


def _files_below(directory: Path):
    for parent, _, names in os.walk(directory, followlinks=True):
        yield from (Path(parent) / name for name in names)
