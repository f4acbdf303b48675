"""The manual of the library runs as it stands, without extras; the notebook is the same."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.page_commands import blocks_of, run_block
from tests.packaging.fresh_process import EXTRAS, ROOT, output_of
from tests.packaging.notebook import MANUAL, NOTEBOOK, cells_of, snippets

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

TEXT = MANUAL.read_text(encoding="utf-8")
USES = ("## Your own tfrs.Model", "## Any two towers", "## Vectors made elsewhere")


# Bundles need the extra [serve]; the rest of the manual runs on the core.
SERVE = ("tensorflow_serving", "grpc", "grpc_health", "typer", "rich")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("manual")


@pytest.fixture(scope="module")
def printed(directory):
    code = "from tests.packaging.notebook import *\nimport json\n"
    code += "print(json.dumps(run_cells(snippets(MANUAL.read_text(encoding='utf-8')))))"
    absent = [name for name in EXTRAS if name not in SERVE]
    return json.loads(output_of(code, without=absent, cwd=directory).splitlines()[-1])


def test_every_snippet_runs_and_finds_what_was_planted(printed):
    assert len(printed) == len(snippets(TEXT)) == 6
    text = "".join(printed)
    found = [float(n) for n in re.findall(r"(?:recall|precision)@10 (\d\.\d+)", text)]
    overlaps = [float(n) for n in re.findall(r"overlap@10 (?:of the index )?(\d\.\d+)", text)]
    # Chance is about 0.1: ten of the hundred books.
    assert len(found) == 3
    assert min(found) > 0.8
    assert len(overlaps) == 2
    assert min(overlaps) >= 0.95


@pytest.mark.usefixtures("printed")
def test_the_commands_of_the_manual_run_on_what_its_code_wrote(directory):
    blocks = [one for one in blocks_of(TEXT, "docs/library.md") if one.language == "bash"]
    loans, vectors = [run_block(block, directory, ROOT) for block in blocks]
    for said in (loans, vectors):
        assert "a stock TF Serving can load it" in said
    assert len(re.findall(r"^ +\d+ +b\d+ ", loans, flags=re.MULTILINE)) == 10
    assert (directory / "build" / "books" / "report" / "index.html").is_file()


@pytest.mark.usefixtures("printed")
def test_a_bundle_of_vectors_answers_a_vector(directory):
    vector = f"embedding={','.join(['0.1'] * 32)}"
    arguments = ["twotower", "query", "build/bundle/vectors", "--set", vector, "--json"]
    code = f"sys.argv = {arguments}\nfrom tfrs_twotower.__main__ import main; main()"
    answer = json.loads(output_of(code, cwd=directory))
    assert len(set(answer["candidate_ids"])) == 10


def test_the_notebook_is_the_manual_in_cells():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    assert cells == cells_of(TEXT), "write it again: python -m tests.packaging.notebook"
    outputs = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [bool(output) for output in outputs] == [False, True, True, True, False, True]


@pytest.mark.parametrize("use", USES)
def test_a_use_is_at_most_thirty_lines(use):
    (code,) = snippets(TEXT.partition(use)[2].partition("\n## ")[0])
    assert len([line for line in code.splitlines() if line.strip()]) <= 30


def test_the_table_of_extras_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"]) - {"benchmarks", "dev"}
    table = TEXT.partition("## Install")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `\[(\w+)\]` \|", table, flags=re.MULTILINE)) == extras
    every = project["optional-dependencies"]["all"][0]
    assert set(re.findall(r"\w+", every.partition("[")[2])) == extras - {"all"}


@pytest.mark.slow
def test_the_snippets_are_typed(tmp_path):
    """A user with strict mypy sees real types behind the lazy names."""
    program = tmp_path / "manual.py"
    body = "\n".join(snippets(TEXT))
    program.write_text(f"{body}\nreveal_type(tt.embed)\nreveal_type(tt.train)\n", encoding="utf-8")
    tool = Path(sys.executable).with_name("mypy")
    result = subprocess.run(
        [tool, "--config-file", str(ROOT / "pyproject.toml"), str(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "def (tower: def (Any) -> " in result.stdout
    assert "Overload" in result.stdout
