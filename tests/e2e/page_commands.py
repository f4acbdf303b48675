"""The commands of the project's pages, and what a page promises of them.

A `bash` block runs as it stands. What a test cannot run is a `console` block, with the reason in a
comment before it, `<!-- not run: ... -->`; its commands, one in each line, are checked against what
they start: the command line's own parser, the Makefile's targets, the options of a module.
"""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import typer

from pipelines.cli.app import app
from tests.e2e.command_line import ENVIRONMENT
from tests.packaging.fresh_process import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "feature_specs" / "README.md",
    ROOT / "pipelines" / "configs" / "README.md",
]
REASONS = ("network", "Docker", "server", "never returns", "longer than five minutes")
NO_COMMANDS = ("python", "yaml", "json", "text")
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>(?:(?!-->).)*?)\s*-->\n+)?"
    r"^```(?P<language>\S*)\n(?P<text>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)
_NOT_COPIED = {"build", "data", "dist"}
TWOTOWER = typer.main.get_command(app)
USAGE_ERROR = typer.BadParameter.__base__  # of click, or of the copy that typer brings


class WrongPage(Exception):
    """A page promises what is not so."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None
    """Why it is not run, from the comment before it."""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(markdown: str, page: str) -> list[Block]:
    """The fenced blocks of a page, in their order.

    Raises:
        WrongPage: a fence is not closed, or has a language that says nothing about running it.
    """
    blocks = []
    for match in _BLOCK.finditer(markdown):
        line = markdown.count("\n", 0, match.start("text"))
        reason = match["reason"] and " ".join(match["reason"].split())
        blocks.append(Block(page, line, match["language"], match["text"], reason))
    if sum(line.lstrip().startswith("```") for line in markdown.splitlines()) != 2 * len(blocks):
        raise WrongPage(f"{page}: a fence is indented or not closed")
    for block in blocks:
        if block.language not in ("bash", "console", *NO_COMMANDS):
            raise WrongPage(f"{block.place}: say bash or console instead of {block.language!r}")
    return blocks


def commands_of(block: Block) -> Iterator[list[str]]:
    """The words of each command, without comments and without variables before it."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        if words:
            yield words


def run_block(block: Block, directory: Path, sources: Path) -> str:
    """Runs a block as somebody does who has activated the environment.

    Args:
        block: of the language bash.
        directory: where it runs.
        sources: the checkout whose code it runs.

    Returns:
        What it prints.

    Raises:
        WrongPage: a command of it fails.
    """
    environment = {
        **ENVIRONMENT,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(sources),
    }
    environment.pop("TWOTOWER_DATA", None)
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=directory, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        raise WrongPage(f"{block.place}: exit {result.returncode}\n{result.stderr[-3000:]}")
    return result.stdout


def check_console(block: Block) -> None:
    """Checks a block that is not run.

    Raises:
        WrongPage: it has no reason, or a command that could not be started so.
    """
    if block.reason is None or not any(reason in block.reason for reason in REASONS):
        raise WrongPage(
            f"{block.place}: a console block needs `<!-- not run: REASON -->` right before it, "
            f"with one of {REASONS}"
        )
    for words in commands_of(block):
        try:
            check_command(words)
        except WrongPage as wrong:
            raise WrongPage(f"{block.place}: {shlex.join(words)}: {wrong}") from wrong


def check_command(words: list[str]) -> None:
    """Checks that a command has the options and arguments that its words name.

    Raises:
        WrongPage: it has not.
    """
    for word in words:
        if re.match(r"(serving|pipelines|examples|feature_specs|tests)/", word):
            require((ROOT / word).exists(), f"there is no {word}")
    match words:
        case ["twotower", *arguments]:
            parse_twotower(arguments)
        case ["make", *targets]:
            check_targets(targets)
        case ["python", "-m", module, *arguments]:
            check_module(module, arguments)
        case ["pip", "install", *requirements]:
            check_requirements(requirements)
        case ["curl", "-d", body, _]:
            require(body.startswith("@") or bool(json.loads(body)), "an empty body")
        case ["docker", *arguments]:
            check_docker(arguments)
        case ["source", ".venv/bin/activate"]:
            pass
        case _:
            raise WrongPage("no check is known for this command; write one")


def check_targets(targets: list[str]) -> None:
    """Checks that the Makefile has these targets."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE)
    for target in targets:
        require("=" in target or target in rules, f"the Makefile has no target {target}")


def parse_twotower(arguments: list[str]) -> None:
    """Parses the arguments of `twotower` as it does itself, without running it."""
    name, *rest = [word for word in arguments if word != "--debug"]
    if name in ("--help", "--version"):
        return
    require(name in TWOTOWER.commands, f"there is no command {name}")
    try:
        TWOTOWER.commands[name].make_context(name, rest)
    except typer.Exit:  # --help
        return
    except USAGE_ERROR as error:
        raise WrongPage(error.format_message()) from error


def check_options(arguments: list[str]) -> None:
    """Checks the options of a command of `twotower` that a sentence speaks of, without the rest."""
    name, *rest = arguments
    if not re.fullmatch(r"[a-z][a-z-]*", name):  # `twotower COMMAND --help`
        return
    require(name in TWOTOWER.commands, f"there is no command {name}")
    parameters = TWOTOWER.commands[name].params
    known = {"--help", "--debug", *(option for one in parameters for option in one.opts)}
    for word in rest:
        if word == "--":
            return
        option = word.partition("=")[0]
        require(not option.startswith("-") or option in known, f"{name} has no option {option}")


def check_module(module: str, arguments: list[str]) -> None:
    """Checks that a module of the repository exists and names each option in its source."""
    found = importlib.util.find_spec(module)
    require(found is not None, f"there is no module {module}")
    here = Path(str(found.origin)).parent if found.submodule_search_locations else None
    sources = here.glob("*.py") if here else [Path(str(found.origin))]
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    for argument in arguments:
        require(not argument.startswith("--") or f'"{argument}"' in text, f"no option {argument}")


def check_docker(arguments: list[str]) -> None:
    """Checks that a Dockerfile declares the build arguments that a command gives it."""
    match arguments:
        case ["build", "-f", dockerfile, *rest]:
            text = (ROOT / dockerfile).read_text(encoding="utf-8")
            declared = re.findall(r"^ARG (\w+)", text, flags=re.MULTILINE)
            for option, value in pairwise(rest):
                name = value.partition("=")[0]
                known = option != "--build-arg" or name in declared
                require(known, f"{dockerfile} has no ARG {name}")
        case ["compose", "-f", _, "up"] | ["buildx", "imagetools", "inspect", _]:
            pass
        case _:
            raise WrongPage("no check is known for this command; write one")


def check_requirements(requirements: list[str]) -> None:
    """Checks that each is `.` or `tfrs-twotower`, with extras that there are."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in requirements:
        match = re.fullmatch(r"(?:\.|tfrs-twotower)(?:\[([a-z,]+)\])?", requirement)
        require(match is not None, f"{requirement} is not this project")
        for extra in filter(None, (match[1] or "").split(",")):
            found = re.search(rf"^{extra} = \[", project, flags=re.MULTILINE)
            require(found is not None, f"there is no extra {extra}")


def require(holds: bool, otherwise: str) -> None:
    """Raises WrongPage unless a condition holds."""
    if not holds:
        raise WrongPage(otherwise)


def copy_checkout(destination: Path) -> None:
    """Copies the repository as somebody clones it: without what was built or fetched there."""

    def ignore(directory: str, names: list[str]) -> set[str]:
        at_the_top = Path(directory) == ROOT
        left_out = {name for name in names if name == "__pycache__" or name.endswith(".egg-info")}
        if at_the_top:
            left_out |= {name for name in names if name in _NOT_COPIED or name.startswith(".")}
        return left_out

    shutil.copytree(ROOT, destination, ignore=ignore)
