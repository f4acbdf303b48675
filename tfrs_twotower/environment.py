"""What is installed: extras, packages hidden by others, and new processes that find the same.

A check looks into the import path and does not import the package.
"""

import sys
from collections.abc import Sequence
from importlib import util
from pathlib import Path

from tfrs_twotower.errors import MissingExtra

DISTRIBUTION = "tfrs-twotower"
_INSTALLED_IN = Path(__file__).resolve().parents[1]


def require_extra(extra: str, *modules: str, needed_by: str) -> None:
    """Checks that the packages of an extra are installed, before they are imported.

    Args:
        extra: name of the extra, as in `pip install 'tfrs-twotower[NAME]'`.
        modules: top-level modules that are about to be imported.
        needed_by: the part that needs them, as the subject of the message.

    Raises:
        MissingExtra: at least one of them is not installed.
    """
    missing = [name for name in modules if not is_importable(name)]
    if missing:
        raise MissingExtra(
            f"{needed_by} needs {_and(missing)}, which this environment lacks. Install the extra "
            f"[{extra}]: {how_to_install(extra)} ([all] brings every extra)."
        )


def how_to_install(extra: str) -> str:
    """The commands that install an extra, as every message about extras says them.

    pip takes an extra's packages from what is installed, from a wheel or as an editable checkout,
    so the first command needs no registry that knows this distribution; the second works where it
    is not installed at all.
    """
    return f"`pip install '{DISTRIBUTION}[{extra}]'`, or `pip install '.[{extra}]'` in a checkout"


def find_hidden(names: Sequence[str]) -> list[str]:
    """Packages of this distribution that Python does not import, because another one comes first.

    The packages of one distribution are in one directory, and the docstring of each names the
    distribution; a package that was installed over it does not.

    Args:
        names: top-level packages that were installed together with this one.

    Returns:
        For each hidden package, a description of what Python imports instead.
    """
    return [hidden for name in names if (hidden := _instead(name))]


def explain_hidden(hidden: Sequence[str]) -> str:
    """A message about the packages of `find_hidden`, and what to do."""
    return (
        f"{'; '.join(hidden)}. Another package or directory of that name hides this project's. "
        "Take it off the import path (PYTHONPATH, the working directory), or install "
        f"{DISTRIBUTION} into an environment of its own: `python -m venv`."
    )


def own_python(code: str, *arguments: str) -> list[str]:
    """The command that runs code in a new process, which finds the same packages as this one.

    `python -m` and `python -c` look into the working directory first, where another package of the
    same name may lie; the command `twotower` does not.
    """
    path = f"import sys; sys.path[0] = {sys.path[0]!r}\n"
    return [sys.executable, "-c", path + code, *arguments]


def run_module(name: str) -> str:
    """The code that does what `python -m` does."""
    return f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"


def _instead(name: str) -> str:
    """What Python finds instead of a package of this distribution; "" if it finds the package."""
    expected = _INSTALLED_IN / name / "__init__.py"
    try:
        spec = util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return f"Python finds no package `{name}` instead of {expected.parent}"
    if spec.origin is None or Path(spec.origin).resolve() != expected:
        place = spec.origin or ", ".join(spec.submodule_search_locations or ())
        return f"Python finds the package `{name}` in {place} instead of {expected.parent}"
    if DISTRIBUTION not in expected.read_text(encoding="utf-8", errors="replace"):
        return f"{expected} was overwritten by another package `{name}`"
    return ""


def is_importable(name: str) -> bool:
    """Whether there is a module of this name, without importing it."""
    try:
        return util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _and(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
