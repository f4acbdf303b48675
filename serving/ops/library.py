"""The shared library of the operations in this directory: compiled once, then loaded.

It fits one TensorFlow, so it is no part of a package: `twotower build-ops` compiles it against the
installed one. The cache holds one library for each version of TensorFlow and each state of the
sources. Its name is the checksum of its bytes, and a library with other bytes is not loaded.
"""

import hashlib
import os
import shutil
import subprocess  # nosec: only a compiler is started
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tfrs_twotower.artifacts import sha256_file
from tfrs_twotower.environment import require_extra
from tfrs_twotower.errors import CorruptArtifact, UnsupportedEnvironment

NAMESPACE = "Twotower>"
"""Beginning of the names of the operations."""
LEAST_GCC = 12
_HERE = Path(__file__).parent
HEADERS = ("lanes.h", "codes.h", "large_pages.h", "second_stage.h", "leaf_search.h")
SOURCES = ("second_stage_op.cc", "leaf_search_op.cc")
_FLAGS = ("-O3", "-fPIC", "-shared", "-Wall", "-Werror=return-type", "-Wno-psabi", "-DNDEBUG")
_BUILD = "Run `twotower build-ops`, or set export.fused_ops: false."


def compiler() -> str:
    """The path of a GCC that compiles the operations: that of `$CXX`, else `g++`.

    Raises:
        UnsupportedEnvironment: there is none, or it is too old.
    """
    name = os.environ.get("CXX") or "g++"
    found = shutil.which(name)
    advice = f"Install GCC {LEAST_GCC} or later (Debian, Ubuntu: g++), or name one in CXX."
    if found is None:
        raise UnsupportedEnvironment(
            f"fused operations are compiled here, and there is no '{name}' on the PATH. {advice}"
        )
    version = _run([found, "-dumpversion"]).stdout.strip()
    major = version.partition(".")[0]
    is_gcc = "Free Software Foundation" in _run([found, "--version"]).stdout
    if not is_gcc or not major.isdecimal() or int(major) < LEAST_GCC:
        kind = f"GCC {version}" if is_gcc else "not GCC"
        raise UnsupportedEnvironment(f"{found} is {kind}. {advice}")
    return found


def directory(tensorflow: str | None = None) -> Path:
    """Where the library for a version of TensorFlow and the present sources lies.

    Args:
        tensorflow: the version; by default that of the TensorFlow that is imported here.
    """
    if tensorflow is None:
        import tensorflow as tf

        tensorflow = tf.__version__
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    texts = [(_HERE / name).read_bytes() for name in (*HEADERS, *SOURCES)]
    sources = hashlib.sha256(b"".join(texts))
    key = f"tensorflow-{tensorflow}-{sources.hexdigest()[:16]}"
    return home / "tfrs_twotower" / "ops" / key


def find(tensorflow: str | None = None) -> Path | None:
    """The library that was compiled before, unverified; None if there is none; see `directory`."""
    return next(iter(sorted(directory(tensorflow).glob("*.so"))), None)


def build() -> Path:
    """Compiles the library, unless that was done before; half a minute of one processor.

    Returns:
        Its path in the cache, where it appears whole or not at all.

    Raises:
        UnsupportedEnvironment: there is no compiler, or it refuses the sources.
    """
    require_extra("serve", "tensorflow", needed_by="twotower build-ops")
    if (found := find()) is not None and _is_whole(found):
        return found
    import tensorflow as tf

    cxx, place = compiler(), directory()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        library = Path(scratch) / "library.so"
        sources = [str(_HERE / name) for name in SOURCES]
        command = [cxx, *_FLAGS, *tf.sysconfig.get_compile_flags(), *sources]
        done = _run([*command, "-o", str(library), *tf.sysconfig.get_link_flags()])
        if done.returncode:
            said = "\n".join(done.stderr.strip().splitlines()[-20:])
            raise UnsupportedEnvironment(
                f"{cxx} does not compile serving/ops against TensorFlow {tf.__version__}:\n{said}\n"
                "Set export.fused_ops: false to do without."
            )
        for earlier in place.glob("*.so"):
            earlier.unlink()
        return library.replace(place / f"{sha256_file(library)}.so")


@cache
def load() -> Any:
    """Registers the operations with TensorFlow; their functions are attributes of what it returns.

    Raises:
        UnsupportedEnvironment: the library was not compiled, or TensorFlow does not load it.
        CorruptArtifact: its bytes are not those that were compiled.
    """
    import tensorflow as tf

    library = find()
    if library is None:
        raise UnsupportedEnvironment(
            f"fused operations have not been compiled for TensorFlow {tf.__version__}. {_BUILD}"
        )
    if not _is_whole(library):
        raise CorruptArtifact(
            f"{library}: its checksum is not the one in its name: it was changed after it was "
            f"compiled, and is not loaded. {_BUILD}"
        )
    try:
        return tf.load_op_library(str(library))
    except (tf.errors.OpError, OSError) as cause:
        raise UnsupportedEnvironment(
            f"{library}: TensorFlow {tf.__version__} does not load it: {cause}. {_BUILD}"
        ) from cause


def _is_whole(library: Path) -> bool:
    return sha256_file(library) == library.stem


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  (a compiler and our own sources)
        command, capture_output=True, text=True, check=False
    )
