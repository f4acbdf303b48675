"""Checks what the project needs of its environment, and says how to fix what is wrong."""

import os
import platform
import subprocess  # nosec: only this interpreter is started
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import tfrs_twotower
from tfrs_twotower.environment import DISTRIBUTION, find_hidden, how_to_install, own_python
from tfrs_twotower.errors import UnsupportedEnvironment

_PACKAGES = ("pipelines", "serving", "feature_specs")
EXTRAS = {
    "cli": "the command twotower",
    "pipelines": "the stages, from tables to a bundle and a report",
    "scann": "an index of kind scann",
    "report": "the evaluation's pages and the baseline iALS",
    "serve": "bundles, and the local server",
    "client": "asking an endpoint",
    "signing": "signed versions, and their verification",
    "loadtest": "twotower load-test",
    "tune": "twotower tune",
}
"""What each extra of a user is for; `[all]` has no packages of its own."""
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
    to_get: str = ""
    """How to install it if it is an extra that is not installed."""


def examine() -> Iterator[Finding]:
    """Examines the interpreter, the processor, the packages, extras and op libraries, in turn.

    Each op library is loaded in a process of its own, because a failed load can end the process.
    An extra that is not installed is not a fault.
    """
    libraries = dict(_OP_LIBRARIES)
    if _version("scann"):
        libraries["ScaNN ops"] = _SCANN_OPS
    yield _python()
    yield _processor()
    yield from _own_packages()
    yield from _versions()
    yield from _requirements()
    for subject, (code, fix) in libraries.items():
        yield _loads(subject, code, fix)
    tensorflow = _version("tensorflow")
    if tensorflow and not find_hidden(["serving"]):
        yield _fused_ops(tensorflow)


def _own_packages() -> Iterator[Finding]:
    """Where this package lies, and whether its other packages belong to no other distribution."""
    place = Path(tfrs_twotower.__file__).parent
    yield Finding(DISTRIBUTION, True, f"{tfrs_twotower.__version__} in {place}")
    subject = f"packages {', '.join(_PACKAGES)}"
    hidden = find_hidden(_PACKAGES)
    fix = f"install {DISTRIBUTION} into an environment of its own: `python -m venv`"
    if hidden:
        yield Finding(subject, False, "; ".join(hidden), f"take it off the import path, or {fix}")
        return
    owners = metadata.packages_distributions()
    others = {
        name: ", ".join(sorted(set(owners.get(name, ())) - {DISTRIBUTION})) for name in _PACKAGES
    }
    shared = [f"{name} is also installed by {other}" for name, other in others.items() if other]
    if shared:
        state = f"{'; '.join(shared)}: one overwrites the files of the other"
        yield Finding(subject, False, state, fix)
    else:
        yield Finding(subject, True, "this project's")


def _requirements() -> Iterator[Finding]:
    """The packages of the core and of each extra, by the metadata of this distribution."""
    try:
        lines = metadata.requires(DISTRIBUTION) or ()
    except metadata.PackageNotFoundError:
        state = "cannot be told, because this is a checkout that is not installed"
        yield Finding("extras", True, state, to_get=how_to_install("all"))
        return
    requirements = [Requirement(line) for line in lines]
    wrong = _wrong_versions(_required(requirements, ""))
    pip = " ".join(["pip install", *(f"'{one.name}{one.specifier}'" for one, _ in wrong)])
    state = _found(wrong) or "installed"
    yield Finding("packages of the core", not wrong, state, f"`{pip}`" if wrong else "")
    for extra, purpose in EXTRAS.items():
        needed = _required(requirements, extra)
        if not needed:
            yield Finding(f"extra [{extra}]", True, f"not made for {platform.machine()}")
            continue
        wrong = _wrong_versions(needed)
        absent = [one.name for one, version in wrong if version is None]
        brings = ", ".join(one.name for one in needed)
        subject, state = f"extra [{extra}], for {purpose}", f"installed ({brings})"
        if absent:
            partly = "" if len(absent) == len(needed) else f"; missing {', '.join(absent)}"
            state = f"not installed; brings {brings}{partly}"
            yield Finding(subject, True, state, to_get=how_to_install(extra))
        else:
            yield Finding(subject, not wrong, _found(wrong) or state, how_to_install(extra))


def _required(requirements: Sequence[Requirement], extra: str) -> list[Requirement]:
    """What an extra brings on this machine ("" is the core), with the extras that it includes."""
    found: dict[str, Requirement] = {}
    for one in requirements:
        of_the_core = one.marker is None or one.marker.evaluate({"extra": ""})
        if extra and one.marker is not None and not of_the_core:
            wanted = one.marker.evaluate({"extra": extra})
        else:
            wanted = of_the_core and not extra
        if wanted and one.name == DISTRIBUTION:
            inner = [_required(requirements, name) for name in sorted(one.extras)]
            found |= {included.name: included for part in inner for included in part}
        elif wanted:
            found[one.name] = one
    return list(found.values())


def _wrong_versions(needed: Iterable[Requirement]) -> list[tuple[Requirement, str | None]]:
    """Those that are not installed (None), or in a version that was not proven to work."""
    versions = [(one, _version(one.name)) for one in needed]
    return [
        (one, version)
        for one, version in versions
        if version is None or not one.specifier.contains(version, prereleases=True)
    ]


def _found(wrong: Iterable[tuple[Requirement, str | None]]) -> str:
    return "; ".join(
        f"found {one.name} {version or 'not installed'}, needed {one.specifier}"
        for one, version in wrong
    )


def _version(distribution: str) -> str | None:
    """The installed version; None if the distribution is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


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
    tensorflow = _version("tensorflow")
    if tensorflow is None:
        return []  # the packages of the core say so
    findings = [Finding("tensorflow", True, tensorflow)]
    minor = ".".join(tensorflow.split(".")[:2])
    for name in (*_MINORS_AS_TENSORFLOW, *filter(_version, _MINORS_IF_INSTALLED)):
        version = _version(name) or "not installed"
        findings.append(
            Finding(name, version.startswith(f"{minor}."), version, f"install {name}=={minor}.*")
        )
    return findings


def _fused_ops(tensorflow: str) -> Finding:
    """Whether the project's own operations are compiled, or can be; none is needed by default."""
    from serving.ops import library

    subject = "fused operations, for export.fused_ops"
    if library.find(tensorflow) is not None:
        code = "import tfrs_twotower; from serving.ops import library; library.load()"
        return _loads(subject, code, "run `twotower build-ops`")
    try:
        state = f"not compiled; {library.compiler()} can"
    except UnsupportedEnvironment as cause:
        return Finding(subject, True, "not compiled, and no compiler", to_get=str(cause))
    return Finding(subject, True, state, to_get="`twotower build-ops`")


def _loads(subject: str, code: str, fix: str) -> Finding:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(  # noqa: S603  (this interpreter, fixed code)
        own_python(code), capture_output=True, text=True, env=environment, check=False
    )
    if result.returncode == 0:
        return Finding(subject, True, "loads")
    last = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
    return Finding(subject, False, last, fix)
