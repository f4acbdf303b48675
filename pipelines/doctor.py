"""Checks what the project needs of its environment, and says how to fix what is wrong."""

import os
import platform
import re
import subprocess  # nosec: only this interpreter is started
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tfrs_twotower.environment import find_hidden

_DISTRIBUTION = "tfrs-twotower"
_PACKAGES = ("pipelines", "serving")
_NO_USERS_EXTRAS = frozenset({"all", "benchmarks", "dev"})
_MINORS_AS_TENSORFLOW = ("tensorflow-text", "tf-keras")
_MINORS_IF_INSTALLED = ("tensorflow-serving-api",)
_OP_LIBRARIES = {
    "Keras 2 under tf.keras": (
        "import tfrs_twotower.keras_api",
        "set TF_USE_LEGACY_KERAS=1, and install tf-keras of TensorFlow's minor version",
    ),
    "tensorflow-recommenders": (
        "import tfrs_twotower, tensorflow_recommenders",
        "install tensorflow-recommenders==0.7.7",
    ),
    "tensorflow-text ops": (
        "import tfrs_twotower, tensorflow_text",
        "install the tensorflow-text of TensorFlow's minor version",
    ),
}
_SCANN_OPS = (
    "import tfrs_twotower, tensorflow; from scann.scann_ops.py import scann_ops",
    "install scann[tf]: it ties ScaNN to the TensorFlow that its ops were built for",
)


@dataclass(frozen=True)
class Finding:
    """The state of one part of the environment."""

    subject: str
    """What was examined."""
    healthy: bool
    state: str
    """Its state in words: a version, or what is wrong."""
    fix: str = ""
    """What to do if it is not healthy."""


def examine() -> list[Finding]:
    """Examines the interpreter, the processor, the packages, extras and op libraries.

    Each op library is loaded in a process of its own, because a failed load can end the process.
    An extra that is not installed is not a fault.
    """
    libraries = dict(_OP_LIBRARIES)
    if _is_installed("scann"):
        libraries["ScaNN ops"] = _SCANN_OPS
    return [
        _python(),
        _processor(),
        _own_packages(),
        *_versions(),
        *_extras(),
        *(_loads(subject, code, fix) for subject, (code, fix) in libraries.items()),
    ]


def _own_packages() -> Finding:
    """Whether `pipelines` and `serving` belong to this project and to no other distribution."""
    subject = f"packages {' and '.join(_PACKAGES)}"
    hidden = find_hidden(_PACKAGES)
    fix = f"install {_DISTRIBUTION} into an environment of its own: `python -m venv`"
    if hidden:
        return Finding(subject, False, "; ".join(hidden), f"take it off the import path, or {fix}")
    owners = metadata.packages_distributions()
    others = {
        name: ", ".join(sorted(set(owners.get(name, ())) - {_DISTRIBUTION})) for name in _PACKAGES
    }
    shared = [f"{name} is also installed by {other}" for name, other in others.items() if other]
    if shared:
        state = f"{'; '.join(shared)}: one overwrites the files of the other"
        return Finding(subject, False, state, fix)
    return Finding(subject, True, "this project's")


def _extras() -> Iterator[Finding]:
    """Which extras are installed, by the metadata of this distribution."""
    try:
        about = metadata.metadata(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return
    requirements = metadata.requires(_DISTRIBUTION) or []
    for extra in about.get_all("Provides-Extra") or ():
        if extra in _NO_USERS_EXTRAS:
            continue
        own = [line for line in requirements if f'extra == "{extra}"' in line.replace("'", '"')]
        names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in own]
        missing = [name for name in names if name != _DISTRIBUTION and not _is_installed(name)]
        state = "installed"
        if missing:
            state = f"not installed ({', '.join(missing)}): pip install '{_DISTRIBUTION}[{extra}]'"
        yield Finding(f"extra [{extra}]", True, state)


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _python() -> Finding:
    healthy = (3, 10) <= sys.version_info[:2] <= (3, 13)
    return Finding("Python", healthy, platform.python_version(), "use Python 3.10 to 3.13")


def _processor() -> Finding:
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return Finding("AVX2 and FMA", True, "cannot be told on this system")
    words = set(information.read_text(encoding="utf-8", errors="replace").split())
    missing = [flag for flag in ("avx2", "fma") if flag not in words]
    return Finding(
        "AVX2 and FMA",
        not missing,
        f"missing {', '.join(missing)}" if missing else "present",
        "ScaNN needs both; use `index.kind: brute_force` on this processor",
    )


def _versions() -> list[Finding]:
    try:
        tensorflow = metadata.version("tensorflow")
    except metadata.PackageNotFoundError:
        return [Finding("tensorflow", False, "not installed", "install with constraints.txt")]
    findings = [Finding("tensorflow", True, tensorflow)]
    minor = ".".join(tensorflow.split(".")[:2])
    followers = [*_MINORS_AS_TENSORFLOW, *filter(_is_installed, _MINORS_IF_INSTALLED)]
    for name in followers:
        version = metadata.version(name) if _is_installed(name) else "not installed"
        findings.append(
            Finding(name, version.startswith(f"{minor}."), version, f"install {name}=={minor}.*")
        )
    return findings


def _loads(subject: str, code: str, fix: str) -> Finding:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(  # noqa: S603  (this interpreter, fixed code)
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    if result.returncode == 0:
        return Finding(subject, True, "loads")
    last = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
    return Finding(subject, False, last, fix)
