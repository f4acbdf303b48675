"""What is compiled, where it is kept, and what is refused."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from serving.ops import library
from tfrs_twotower.errors import CorruptArtifact, UnsupportedEnvironment

DRIVER = Path(__file__).with_name("hostile_rows.cc")


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache, and nothing loaded as far as `load` knows."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    library.load.cache_clear()
    yield tmp_path / "cache"
    library.load.cache_clear()


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def gcc(path, *, version="13", body="exit 1"):
    """A compiler that says that it is GCC, and then does what the body says."""
    return script(
        path,
        f'[ "$1" = -dumpversion ] && echo {version} && exit\n'
        f'[ "$1" = --version ] && echo "Free Software Foundation" && exit\n{body}',
    )


def test_without_a_library_the_message_says_what_to_do(fresh):
    with pytest.raises(UnsupportedEnvironment, match=r"not been compiled .* `twotower build-ops`"):
        library.load()


def test_a_compiler_that_is_not_there_or_too_old(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UnsupportedEnvironment, match=r"no 'no-such-compiler' on the PATH\."):
        library.build()
    monkeypatch.setenv("CXX", gcc(tmp_path / "old", version="11"))
    with pytest.raises(UnsupportedEnvironment, match=r"old is GCC 11\. Install GCC 12"):
        library.build()
    monkeypatch.setenv("CXX", script(tmp_path / "other", "echo 17"))
    with pytest.raises(UnsupportedEnvironment, match="other is not GCC"):
        library.build()


def test_a_failed_compilation_leaves_nothing(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", gcc(tmp_path / "cxx", body="echo no such header >&2; exit 1"))
    with pytest.raises(UnsupportedEnvironment, match=r"does not compile .*\nno such header\nSet"):
        library.build()
    assert [path for path in fresh.rglob("*") if path.is_file()] == []


def test_what_was_compiled_is_not_compiled_again_and_not_loaded_once_changed(
    fresh, monkeypatch, tmp_path
):
    made = tmp_path / "made"
    wrote = 'while [ "$1" != -o ]; do shift; done; echo "$2" >> ' + f'{made}; echo library > "$2"'
    monkeypatch.setenv("CXX", gcc(tmp_path / "cxx", body=wrote))
    built = library.build()
    assert library.build() == built == library.find()
    assert len(made.read_text().splitlines()) == 1
    with pytest.raises(UnsupportedEnvironment, match="does not load it"):
        library.load()
    built.write_text("other library\n", encoding="utf-8")
    with pytest.raises(CorruptArtifact, match="checksum is not the one in its name"):
        library.load()
    rebuilt = library.build()
    assert rebuilt.read_text() == "library\n"
    assert library.find() == rebuilt


def test_other_sources_or_another_tensorflow_have_their_own_library(fresh, monkeypatch, tmp_path):
    import tensorflow as tf

    before = library.directory()
    monkeypatch.setattr(tf, "__version__", "2.99.0")
    assert library.directory().name.startswith("tensorflow-2.99.0-")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh))
    for name in (*library.HEADERS, *library.SOURCES):
        shutil.copy(library._HERE / name, tmp_path)
    with (tmp_path / "second_stage.h").open("a", encoding="utf-8") as header:
        header.write("\n")
    monkeypatch.setattr(library, "_HERE", tmp_path)
    assert library.directory() != before


def test_sanitizers_find_nothing(tmp_path):
    """Every byte outside of a buffer, and every undefined operation, would end the program."""
    try:
        compiler = library.compiler()
    except UnsupportedEnvironment as cause:
        pytest.skip(f"nothing to compile with: {cause}")
    program = tmp_path / "hostile_rows"
    flags = ["-std=c++17", "-O1", "-g", "-Wno-psabi"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{library._HERE}"]
    subprocess.run([compiler, *flags, str(DRIVER), "-o", str(program)], check=True)
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150_000
