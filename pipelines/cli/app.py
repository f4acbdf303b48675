"""The command `twotower`: its subcommands, and errors as one line and an exit code."""

import io
import os
import sys
import traceback

import typer

from pipelines.cli import (
    bundle_commands,
    compare_command,
    endpoint_commands,
    installation_commands,
    run_commands,
    start_commands,
    tfx_commands,
    tune_command,
    version_commands,
)
from tfrs_twotower import __version__, errors
from tfrs_twotower.data.lines import shown

EXIT_USER = 1
EXIT_ENVIRONMENT = 2
EXIT_INTERRUPTED = 130
_NO_PATHS = ("--set", "--exclude", "--allow", "--deny", "--query-id", "--similar", "--name")
"""Options whose value is an id, a setting or a name, which may begin with `~`."""
_OF_THE_ENVIRONMENT = (
    errors.EndpointError,
    errors.LostElements,
    errors.UnsupportedEnvironment,
    errors.WorkdirError,
)

app = typer.Typer(
    name="twotower",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    help="Two-tower retrieval from tables to TF Serving: a feature spec describes the data, "
    "a run config the work.\n\n"
    "Start with `twotower demo`, or on your own tables with\n\n"
    "\b\n"
    "  twotower init --interactions loans.csv --candidates books.csv --out mine\n"
    "  twotower run mine/NAME_run.yaml --workdir build/mine\n"
    "  twotower query build/mine/bundle/NAME --set town=Oslo\n\n"
    "`twotower COMMAND --help` explains a command.\n\n"
    "A leading `~` of a path is the home directory, in options, documents and $TWOTOWER_DATA; "
    "relative paths of a run config start at its own directory, those of a feature spec at the "
    "data root, those of options at the current directory.\n\n"
    "Exit codes: 0 done; 1 the data or a document is wrong, or a gate failed; 2 usage or "
    "environment. `--debug` at any place shows the traceback of an error and what TensorFlow logs.",
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"twotower {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    del version


for _commands in (
    start_commands,
    installation_commands,
    run_commands,
    compare_command,
    tune_command,
    bundle_commands,
    version_commands,
    endpoint_commands,
    tfx_commands,
):
    _commands.add_to(app)


def main() -> None:
    """Runs the command line and exits."""
    _write_any_text()
    arguments, debug = _take_debug(sys.argv[1:])
    try:
        app(args=arguments, prog_name="twotower")
    except KeyboardInterrupt:
        _print_interruption()
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:  # typer caught the KeyboardInterrupt
            _print_interruption()
        raise
    except Exception as error:
        failure = errors.as_system_failure(error)
        if failure is not None:
            _fail(error, str(failure), EXIT_ENVIRONMENT, debug=debug)
        elif isinstance(error, _OF_THE_ENVIRONMENT):
            _fail(error, str(error), EXIT_ENVIRONMENT, debug=debug)
        elif isinstance(error, errors.TwoTowerError):
            _fail(error, str(error), EXIT_USER, debug=debug)
        elif isinstance(error, OSError):
            _fail(error, f"{error}. `--debug` shows where.", EXIT_ENVIRONMENT, debug=debug)
        raise


def _write_any_text() -> None:
    """Lets a terminal that cannot show a character show another one instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")


def _print_interruption() -> None:
    typer.echo("twotower: interrupted; the same command continues where it stopped.", err=True)


def _take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Removes `--debug` from the arguments before `--`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own = [argument for argument in arguments[:end] if argument != "--debug"]
    return _expand_home(own) + arguments[end:], len(own) < end


def _expand_home(arguments: list[str]) -> list[str]:
    """Replaces a leading `~` of paths where no shell did, as in `--workdir=~/build`."""
    expanded = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, equals, value = argument.partition("=")
        if argument.startswith("~") and before not in _NO_PATHS:
            expanded.append(os.path.expanduser(argument))
        elif equals and option.startswith("--") and option not in _NO_PATHS:
            expanded.append(f"{option}={os.path.expanduser(value)}")
        else:
            expanded.append(argument)
    return expanded


def _fail(error: Exception, message: str, code: int, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    else:
        typer.echo(f"twotower: {shown(message)}", err=True)
    sys.exit(code)
