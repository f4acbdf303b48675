"""The lock of the environment with TFX fits what the project declares."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[4]
ROOM = ROOT / "pipelines" / "tfx_dag"
LOCK = (ROOM / "environment.lock").read_text()
PINS = dict(re.findall(r"^([a-z0-9._-]+)(?:\[.*\])?==(\S+)", LOCK, flags=re.MULTILINE))
HERE = {"python_version": "3.11", "python_full_version": "3.11.7", "extra": ""}


def requirements():
    """Those of the project with the extras that the Makefile names, and of environment.in."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    makefile = (ROOT / "Makefile").read_text()
    extras = re.search(r"^TFX_EXTRAS := (.*)$", makefile, flags=re.MULTILINE)[1].split()
    own = [line.partition("#")[0] for line in (ROOM / "environment.in").read_text().splitlines()]
    lines = [*project["dependencies"], *own]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    found = [Requirement(line) for line in lines if line.strip()]
    return [one for one in found if one.name != "tfrs-twotower"]


def test_every_requirement_is_pinned_within_its_bounds():
    """If not: `make lock-tfx`."""
    wrong = [
        f"{one}: locked {PINS.get(one.name.lower())}"
        for one in requirements()
        if (one.marker is None or one.marker.evaluate(HERE))
        and not one.specifier.contains(PINS.get(one.name.lower(), "0"), prereleases=True)
    ]
    assert wrong == []


def test_every_pin_has_hashes_and_no_registry_is_named():
    assert len(PINS) > 200
    assert LOCK.count("--hash=sha256:") >= len(PINS)
    blocks = re.split(r"^(?=\S)", LOCK, flags=re.MULTILINE)
    assert [
        block.splitlines()[0] for block in blocks if block.strip() and "--hash" not in block
    ] == []
    assert "://" not in LOCK
