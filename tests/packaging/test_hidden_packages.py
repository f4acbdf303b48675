"""Another package called `serving` or `pipelines` is named, not imported."""

import re
import shutil

import pytest

import tfrs_twotower
from tests.packaging.fresh_process import ROOT, output_of, run
from tfrs_twotower import environment
from tfrs_twotower.environment import find_hidden, require_extra
from tfrs_twotower.errors import MissingExtra


def twotower(*arguments, path, cwd):
    code = f"sys.argv = {['twotower', *arguments]}\nfrom tfrs_twotower.__main__ import main; main()"
    return run(code, path=path, cwd=cwd)


@pytest.fixture
def strangers(tmp_path):
    """A directory with somebody else's package of that name."""

    def make(name):
        package = tmp_path / "theirs" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text('"""Something else."""\n')
        return package.parent

    return make


@pytest.mark.parametrize("name", ["serving", "pipelines"])
@pytest.mark.parametrize("arguments", [["--help"], ["query", "somewhere"], ["files"]])
def test_a_command_refuses_to_start(strangers, tmp_path, name, arguments):
    theirs = strangers(name)
    result = twotower(*arguments, path=[theirs, ROOT], cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    place = theirs / name / "__init__.py"
    assert result.stderr.startswith(
        f"twotower: Python finds the package `{name}` in {place} instead of {ROOT / name}."
    )
    assert "environment of its own: `python -m venv`" in result.stderr


def test_doctor_reports_another_serving(strangers, tmp_path):
    result = twotower("doctor", path=[strangers("serving"), ROOT], cwd=tmp_path)
    assert result.returncode == 2
    wrong = [line for line in result.stdout.splitlines() if line.startswith("WRONG")]
    assert len(wrong) == 1
    assert (
        "packages pipelines, serving, feature_specs: Python finds the package `serving` in"
        in wrong[0]
    )


def test_doctor_reports_what_hides_any_of_the_packages(strangers, tmp_path):
    theirs = strangers("feature_specs")
    code = "from pipelines import doctor\nprint(*doctor._own_packages(), sep='\\n')"
    first, second = output_of(code, path=[theirs, ROOT], cwd=tmp_path).splitlines()
    assert f" in {ROOT / 'tfrs_twotower'}'" in first
    assert "healthy=False" in second
    assert f"Python finds the package `feature_specs` in {theirs}" in second


def test_only_what_reads_the_specs_is_refused_where_those_are_hidden(strangers, tmp_path):
    path = [strangers("feature_specs"), ROOT]
    refused = twotower("files", path=path, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"Python finds the package `feature_specs` in {path[0]}" in refused.stderr
    assert twotower("query", "--help", path=path, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("started", ["console script", "-m"])
def test_a_new_process_finds_what_its_parent_finds(strangers, tmp_path, started):
    """A comparison's runs and a load test are processes, started where the user works."""
    theirs = strangers("pipelines")
    # A console script has the directory of the script there, `-m` the working directory.
    first = tmp_path / "bin" if started == "console script" else theirs
    code = f"""
import subprocess
sys.path[0] = {str(first)!r}
from tfrs_twotower.environment import own_python, run_module
command = own_python("import pipelines; print(pipelines.__file__)")
print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
sys.path[0] = {str(tmp_path / "bin")!r}
command = own_python(run_module("pipelines"), "--version")
print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
"""
    found, version = output_of(code, path=[ROOT], cwd=theirs).split("\n\n")[:2]
    expected = ROOT if started == "console script" else theirs
    assert found.strip() == str(expected / "pipelines" / "__init__.py")
    assert version.strip() == f"twotower {tfrs_twotower.__version__}"


@pytest.mark.parametrize("room", ["tfrs_twotower", "serving", "pipelines"])
def test_no_module_of_ours_is_started_from_the_working_directory(room):
    """`own_python` starts them; `-m pip` is somebody else's."""
    pattern = re.compile(r'sys\.executable, *"-[cm]",(?! *"pip")')
    sources = [*(ROOT / room).rglob("*.py")]
    found = {path.name for path in sources if pattern.search(path.read_text(encoding="utf-8"))}
    assert found == ({"environment.py"} if room == "tfrs_twotower" else set())


def test_doctor_cannot_start_where_its_own_package_is_hidden_and_says_which_is(strangers, tmp_path):
    theirs = strangers("pipelines")
    result = twotower("doctor", path=[theirs, ROOT], cwd=tmp_path)
    assert result.returncode == 2
    assert f"Python finds the package `pipelines` in {theirs}" in result.stderr


def test_a_package_that_was_overwritten(tmp_path):
    for name in ("tfrs_twotower", "serving", "pipelines"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "serving" / "__init__.py").write_text('"""Something else."""\n')
    result = twotower("preflight", "somewhere", path=[tmp_path], cwd=tmp_path)
    assert result.returncode == 2
    overwritten = tmp_path / "serving" / "__init__.py"
    assert f"{overwritten} was overwritten by another package `serving`" in result.stderr


def test_nothing_is_hidden_here():
    assert find_hidden(["pipelines", "serving"]) == []
    (absent,) = find_hidden(["no_such_package_anywhere"])
    assert absent.startswith("Python finds no package `no_such_package_anywhere` instead of")


def test_a_missing_extra_is_an_import_error_too(monkeypatch):
    require_extra("x", "json", needed_by="a thing")
    with pytest.raises(ImportError, match=r"a thing needs nope, nil and none_here, which"):
        require_extra("x", "nope", "json", "nil", "none_here", needed_by="a thing")
    with pytest.raises(MissingExtra, match=r"\[x\]: `pip install 'tfrs-twotower\[x\]'`, or"):
        require_extra("x", "nope", needed_by="a thing")
    monkeypatch.setattr(environment, "_INSTALLED_IN", environment._INSTALLED_IN / "elsewhere")
    assert find_hidden(["json"])
