"""The wheel installs alone into an environment of its own, with what it asks for.

Needs a package registry; nothing is installed into the environment that runs the tests.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import call, pip
from tests.packaging.fresh_process import EXTRAS, ROOT, output_of
from tests.packaging.test_core_alone import TRAIN_SOMEBODYS_MODEL
from tfrs_twotower.environment import how_to_install

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The interpreter of an environment that holds the core only."""
    directory = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    interpreter = str(directory / "bin" / "python")
    constraints = str(ROOT / "constraints.txt")
    pip(interpreter, "install", "--quiet", "--constraint", constraints, str(wheel))
    return interpreter


def test_the_core_trains_somebodys_model_outside_of_the_repository(environment, tmp_path):
    assert "No broken requirements found" in pip(environment, "check")
    settings = {"interpreter": environment, "cwd": tmp_path, "path": ()}
    code = "import importlib.util as util\n"
    code += f"print(*[name for name in {EXTRAS} if util.find_spec(name)])"
    # gRPC and rich come with TensorFlow and Keras.
    assert set(output_of(code, **settings).split()) <= {"grpc", "rich"}
    where = output_of("import tfrs_twotower; print(tfrs_twotower.__file__)", **settings)
    assert Path(environment).parents[1] in Path(where.strip()).parents
    lines = output_of(TRAIN_SOMEBODYS_MODEL, **settings).splitlines()
    assert lines[-2:] == ["FOUND 20", "RECALL 1.0"]


def test_the_command_of_the_core_names_its_extra(environment, tmp_path):
    tool = Path(environment).with_name("twotower")
    result = subprocess.run(
        [tool, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("twotower: the command twotower needs typer")


@pytest.mark.timeout(5400)
def test_what_doctor_and_messages_say_brings_the_extras_and_the_demo_runs(environment, tmp_path):
    """The package is on no registry that this test asks: pip takes its extras from the wheel."""
    named = re.findall(r"`pip (install '[^']+')`", how_to_install("all"))
    constrained = (*shlex.split(named[0]), "--quiet", "--constraint", ROOT / "constraints.txt")
    pip(environment, *constrained)
    tool = Path(environment).with_name("twotower")
    found = json.loads(call(tool, "doctor", "--json", cwd=tmp_path))["findings"]
    missing = {
        extra[1]: finding["to_get"]
        for finding in found
        if (extra := re.match(r"extra \[(\w+)\]", finding["subject"]))
    }
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (everything,) = re.findall(r'^all = \["tfrs-twotower\[(.+)\]"\]', project, re.M)
    assert sorted(missing) == everything.split(",")
    assert not any(missing.values())
    call(tool, "demo", cwd=tmp_path)
    report = tmp_path / "build" / "demo" / "report"
    systems = json.loads((report / "evaluation.json").read_text(encoding="utf-8"))["systems"]
    recall = {name: one["metrics"]["recall@100"]["mean"] for name, one in systems.items()}
    assert recall["cascade"] > recall["ease"] > recall["popularity"]
