"""The commands of README, docs and feature specs work as they are written."""

import re
import runpy

import pytest

from tests.e2e.page_commands import (
    PAGES,
    TWOTOWER,
    WrongPage,
    blocks_of,
    check_console,
    check_options,
    commands_of,
    copy_checkout,
    parse_twotower,
    run_block,
)
from tests.packaging.fresh_process import ROOT

pytestmark = pytest.mark.e2e

README = ROOT / "README.md"
# What docs/library.md starts comes out of its Python; tests/packaging/test_library_manual.py.
OTHERS = [page for page in PAGES if page not in (README, ROOT / "docs" / "library.md")]


def named(path):
    return path.relative_to(ROOT).as_posix()


def page_blocks(path, language):
    found = blocks_of(path.read_text(encoding="utf-8"), named(path))
    return [block for block in found if block.language == language]


@pytest.fixture(scope="module")
def readme(tmp_path_factory):
    """A copy of the repository in which every command of the README was run, and its output."""
    checkout = tmp_path_factory.mktemp("clone") / "tfrs_twotower"
    copy_checkout(checkout)
    return checkout, [run_block(block, checkout, checkout) for block in page_blocks(README, "bash")]


def test_the_readme_runs_as_it_is_written(readme):
    checkout, printed = readme
    text = "".join(printed)
    assert len(printed) >= 2
    assert "build/library/report/index.html" in text
    # 8 of new.csv came, and 3 of gone.txt went.
    assert re.search(r"refresh --candidates examples/library/new\.csv .* 165 .* served", text)
    assert re.search(r"^ +1 +B-\d{3} ", text, flags=re.MULTILINE)  # an answered query
    assert (checkout / "build" / "library" / "report" / "index.html").is_file()


def test_the_readme_needs_nothing_but_the_example(readme):
    checkout, _ = readme
    made = {path.name for path in checkout.iterdir()} - {path.name for path in ROOT.iterdir()}
    assert made <= {"build"}  # a clone stays clean: .gitignore has it


def test_the_example_is_what_its_script_writes(tmp_path):
    example = ROOT / "examples" / "library"
    runpy.run_path(str(example / "make_tables.py"))["write_tables"](tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(written) == {"books.csv", "gone.txt", "loans.csv", "new.csv", "readers.csv"}
    assert written == {name: (example / name).read_bytes() for name in written}
    assert sum(map(len, written.values())) < 300_000


@pytest.mark.slow
@pytest.mark.parametrize("page", OTHERS, ids=named)
def test_every_other_page_runs_as_it_is_written(readme, page):
    checkout, _ = readme
    for block in page_blocks(page, "bash"):
        run_block(block, checkout, checkout)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_is_not_run_could_be_started(page):
    for block in page_blocks(page, "console"):
        check_console(block)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_inside_sentences_have_the_options_that_they_name(page):
    text = page.read_text(encoding="utf-8")
    for span in re.findall(
        r"`twotower ([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    ):
        check_options(" ".join(span.split()).split(" "))


@pytest.mark.parametrize("name", sorted(TWOTOWER.commands))
def test_the_examples_of_help_can_be_started(name):
    """Lines of `--help` that begin with the command, two blanks before it."""
    lines = (TWOTOWER.commands[name].help or "").replace("\\\n", " ").splitlines()
    for line in lines:
        if re.match(r" *twotower [a-z]", line):
            parse_twotower(line.split("#")[0].split()[1:])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_of_the_pages_is_python(page):
    for block in page_blocks(page, "python"):
        compile(block.text, block.place, "exec")


def page(text):
    return blocks_of(text, "a.md")


def test_a_block_that_fails_is_told_with_its_place(tmp_path):
    (block,) = page("Do\n\n```bash\ntrue\nfalse\ntrue\n```\n")
    with pytest.raises(WrongPage, match=r"a\.md:3: exit 1"):
        run_block(block, tmp_path, ROOT)


def test_a_reason_belongs_to_the_block_behind_it():
    first, second = page(
        "<!-- not run: needs\na server -->\n```console\nmake test\n```\n\n```bash\ntrue\n```\n"
    )
    assert (first.reason, second.reason) == ("needs a server", None)
    (alone,) = page("<!-- not run: a server -->\n\nBut then:\n\n```console\nmake test\n```\n")
    assert alone.reason is None
    with pytest.raises(WrongPage, match=r"a\.md:5: a console block needs"):
        check_console(alone)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("twotower serve B --prot 8500", "No such option: --prot"),
        ("twotower query B --set a=b --exclud c", "No such option: --exclud"),
        ("twotower serv B", "there is no command serv"),
        ("twotower run R.yaml", "Missing option '--workdir'"),
        ("twotower rollback", "Missing argument 'BUNDLE'"),
        ("twotower versions A B", "unexpected extra argument"),
        ("twotower load-test grpc://h:1/m --queries q --users many", "Invalid value for '--users'"),
        ("make tests", "the Makefile has no target tests"),
        ("python -m tests.benchmarks.nothing", "there is no module"),
        ("python -m tests.benchmarks.results --workdri D", "no option --workdri"),
        ("pip install '.[servr]'", "there is no extra servr"),
        ("docker compose -f serving/compose.yaml up", "there is no serving/compose.yaml"),
        ("kubectl apply", "no check is known"),
    ],
)  # fmt: skip
def test_a_command_that_could_not_be_started_is_told(command, said):
    (block,) = page(f"<!-- not run: needs a server -->\n```console\n{command}\n```\n")
    with pytest.raises(WrongPage, match=rf"a\.md:2: .*{re.escape(said)}"):
        check_console(block)


@pytest.mark.parametrize(
    "text", ["```sh\nls\n```\n", "```\nls\n```\n", "- a\n  ```bash\n  ls\n  ```\n"]
)
def test_no_block_escapes(text):
    with pytest.raises(WrongPage, match=r"say bash or console|indented or not closed"):
        page(text)


def test_lines_comments_and_variables_of_a_block():
    (block,) = page("```console\nA=$B twotower run \\\n    x  # why\n\n# all\nmake test\n```\n")
    assert list(commands_of(block)) == [["twotower", "run", "x"], ["make", "test"]]


def test_an_option_in_a_sentence_is_checked():
    check_options(["export", "RUN.yaml", "--workdir", "D", "--shards", "4"])
    with pytest.raises(WrongPage, match="export has no option --shard"):
        check_options(["export", "--shard", "4"])
