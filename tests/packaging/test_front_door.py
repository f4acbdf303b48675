"""The names of the library: documented, typed, loaded when asked for, and none from above."""

import ast
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tfrs_twotower
from tests.packaging.fresh_process import ROOT, output_of

MANUAL = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
SOURCES = sorted((ROOT / "tfrs_twotower").rglob("*.*"))
HIGHER_ROOM = re.compile(r"\bpipelines\b|\bserving[./]\w|\b(?:import|from) serving\b")


def test_the_manual_lists_exactly_the_public_names():
    table = MANUAL.partition("## All names")[2]
    documented = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert sorted(documented) == sorted(tfrs_twotower.__all__)
    assert len(set(documented)) == len(documented)


def test_the_stub_declares_what_is_loaded():
    stub = (ROOT / "tfrs_twotower" / "__init__.pyi").read_text(encoding="utf-8")
    declared = ast.literal_eval(stub.partition("__all__ = ")[2])
    assert sorted(declared) == sorted(tfrs_twotower.__all__)
    assert set(tfrs_twotower.__all__) - set(tfrs_twotower.__dir__()) == {"__version__"}


@pytest.mark.parametrize("name", tfrs_twotower.__all__)
def test_a_name_resolves_and_is_documented_where_it_is_made(name):
    value = getattr(tfrs_twotower, name)
    assert value is getattr(tfrs_twotower, name)
    if name != "__version__":
        assert (value.__doc__ or "").strip(), "a public name has a docstring"


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match="No tfrs_twotower attribute trian"):
        tfrs_twotower.trian  # noqa: B018  (the access is what is tested)


def test_one_name_loads_only_what_it_needs():
    loaded = output_of("from tfrs_twotower import FeatureSpec\nprint(*sys.modules)").split()
    assert "tensorflow" not in loaded
    assert "numpy" not in output_of("import tfrs_twotower\nprint(*sys.modules)").split()


def test_the_import_is_fast():
    durations = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", "import tfrs_twotower"], check=True, cwd=ROOT)
        durations.append(time.monotonic() - started)
    # The best of five: the limit is about our imports, not about a neighbour on the machine.
    assert min(durations) < 0.2


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_names_no_higher_room(path: Path):
    if path.suffix in (".py", ".html", ".css"):
        assert HIGHER_ROOM.findall(path.read_text(encoding="utf-8")) == []
