"""Imports point down, and starting up loads no TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.processor_seconds import LIGHT, processor_seconds

ROOT = Path(__file__).parents[2]
HEAVY = ("tensorflow", "tf_keras", "apache_beam", "tensorflow_text", "scann", "pandas")


def test_import_contracts_hold():
    tool = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_the_oracles_import_nothing_of_the_project():
    offenders = [
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "tests" / "reference").glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith(("import ", "from "))
        and line.split()[1].split(".")[0] in ("tfrs_twotower", "serving", "pipelines")
    ]
    assert offenders == []


def loaded_by(code):
    program = f"import sys\n{code}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return result.stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "import tfrs_twotower",
        "import tfrs_twotower.specs, tfrs_twotower.config, tfrs_twotower.artifacts",
        "import pipelines.cli.app, pipelines.stages.sequence",
    ],
)
def test_light_modules_load_nothing_heavy(code):
    loaded = loaded_by(code)
    assert [name for name in HEAVY if name in loaded] == []


def test_metrics_load_no_tensorflow():
    assert "tensorflow" not in loaded_by("import tfrs_twotower.metrics")


def test_a_bundle_that_is_not_there_is_named_fast(tmp_path):
    command = [sys.executable, "-m", "pipelines", "versions", str(tmp_path / "films")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (result.returncode, "films: there is no bundle" in result.stderr) == (1, True)
    assert processor_seconds(command) < 2.5 * processor_seconds(LIGHT)


def test_help_answers_fast():
    tool = Path(sys.executable).with_name("twotower")
    assert processor_seconds([tool, "--help"]) < 1.3 * processor_seconds(LIGHT)
