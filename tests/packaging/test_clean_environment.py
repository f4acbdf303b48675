"""The wheel holds what it needs, and installs alone into an environment of its own.

Needs a package registry; nothing is installed into the environment that runs the tests.
"""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.fresh_process import EXTRAS, ROOT, output_of
from tests.packaging.test_core_alone import TRAIN_SOMEBODYS_MODEL

pytestmark = pytest.mark.slow
PACKAGES = ("tfrs_twotower", "serving", "pipelines", "feature_specs")
# Files that are not Python and that the code reads, or that a type checker looks for.
DATA = (
    "*.html",
    "*.css",
    "*.pyi",
    "py.typed",
    "configs/*.yaml",
    "feature_specs/*.yaml",
    "datasets/*.json",
)


def pip(interpreter, *arguments):
    command = [interpreter, "-m", "pip", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of the sources, so that nothing is left in the checkout."""
    sources = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, sources / name, ignore=ignored)
    out = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--no-deps", "--quiet", "--wheel-dir", str(out), str(sources))
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The interpreter of an environment that holds the core only."""
    directory = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    interpreter = str(directory / "bin" / "python")
    constraints = str(ROOT / "constraints.txt")
    pip(interpreter, "install", "--quiet", "--constraint", constraints, str(wheel))
    return interpreter


def test_the_wheel_holds_every_module_and_all_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    data = {
        path.relative_to(ROOT)
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if any(path.match(pattern) for pattern in DATA)
    }
    assert len(data) > 15
    assert held == {path.as_posix() for path in modules | data}


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


def test_the_demos_documents_are_found_where_they_are_installed(environment, tmp_path):
    code = "from pathlib import Path\nimport pipelines\n"
    code += "from tfrs_twotower.config import load_run_config, spec_path\n"
    code += "from tfrs_twotower.specs import load_spec\n"
    code += "path = Path(pipelines.__file__).parent / 'configs' / 'movielens_100k.yaml'\n"
    code += "print(load_spec(spec_path(load_run_config(path), path)).name)"
    settings = {"interpreter": environment, "cwd": tmp_path, "path": ()}
    assert output_of(code, **settings).strip() == "movielens_100k"
