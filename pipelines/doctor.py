"""What a working environment needs, checked one by one, with the fix for what is wrong."""

import os
import platform
import subprocess  # nosec: only this interpreter is started
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_MINORS_AS_TENSORFLOW = ("tensorflow-text", "tf-keras", "tensorflow-serving-api")
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
    "ScaNN ops": (
        "import tfrs_twotower, tensorflow; from scann.scann_ops.py import scann_ops",
        "install scann[tf]: it ties ScaNN to the TensorFlow that its ops were built for",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    healthy: bool
    found: str
    fix: str = ""


def examine() -> list[Finding]:
    """Looks at the interpreter, the processor, package versions and op libraries.

    Each op library is loaded in a process of its own, because a failed load can end the process.
    """
    return [_python(), _processor(), *_versions(), *map(_loads, _OP_LIBRARIES)]


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
    for name in _MINORS_AS_TENSORFLOW:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = "not installed"
        findings.append(
            Finding(name, version.startswith(f"{minor}."), version, f"install {name}=={minor}.*")
        )
    return findings


def _loads(subject: str) -> Finding:
    code, fix = _OP_LIBRARIES[subject]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(  # noqa: S603  (this interpreter, fixed code)
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    if result.returncode == 0:
        return Finding(subject, True, "loads")
    last = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
    return Finding(subject, False, last, fix)
