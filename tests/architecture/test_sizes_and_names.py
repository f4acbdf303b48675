"""The habits of the house that a machine can check."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("tfrs_twotower", "serving", "pipelines")
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "misc", "util", "helper"}


def test_there_are_sources():
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_is_small_and_named_for_its_subject(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert path.stem not in FORBIDDEN_NAMES
    assert text.startswith('"""'), "a module opens with a sentence saying what it holds"


def test_half_of_the_files_are_short():
    lengths = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES)
    assert lengths[len(lengths) // 2] <= 160


def cut(path):
    """Code lines and import lines of a file; strings that stand alone are prose."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    prose = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    imports = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    lines = enumerate(text.splitlines(), 1)
    code = {number for number, line in lines if line.strip() and not line.strip().startswith("#")}
    return len(code - prose), len(imports)


def test_a_subject_is_not_cut_into_crumbs():
    cuts = [cut(path) for path in SOURCES]
    cuts = [(code, imports) for code, imports in cuts if code]
    code = sum(lines for lines, _ in cuts)
    assert code / len(cuts) >= 85
    assert sum(imports for _, imports in cuts) / code <= 0.105


def test_nothing_pickles():
    pattern = re.compile(r"\bimport (pickle|dill|cloudpickle|joblib)\b|allow_pickle=True")
    offenders = [str(path) for path in SOURCES if pattern.search(path.read_text(encoding="utf-8"))]
    assert offenders == []


def test_the_changelog_opens_with_the_package_version():
    from tfrs_twotower import __version__

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.+?)\]", changelog, flags=re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert __version__ in versions or len(versions) == 1


def test_every_link_in_the_papers_leads_somewhere():
    broken = []
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
            if "://" not in target and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []
