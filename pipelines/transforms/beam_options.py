"""Reads the Beam options of the command line, and refuses those that nobody would read.

Beam itself drops an option that it does not know, or a misspelt one, with a line in a log.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import NoReturn

from apache_beam.options.pipeline_options import (
    PipelineOptions,
    StandardOptions,
    _BeamArgumentParser,
)

from tfrs_twotower.errors import ConfigError

_JOB_SERVER_RUNNERS = ("portable", "flink", "spark", "prism", "kafkastreams")
"""Runners that hand options which Python does not know to a job server, which may know them. A
runner that is named by its module is taken for one, too."""
_CLOSE = 0.6
_SURELY_MISSPELT = 0.9


class _Parser(_BeamArgumentParser):
    """Beam's own parser, with an exception in the place of a page of usage and an exit."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parse_beam_options(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's pipeline options from what stands after `--` on the command line.

    Args:
        arguments: such as `--runner=DataflowRunner`. A runner with a job server (Flink, Spark)
            may be given options that only the server knows, unless they look like misspelt ones.

    Raises:
        ConfigError: nobody knows an option, or its value is not allowed.
    """
    parser = _Parser(allow_abbrev=False, add_help=False)
    # One class may be there twice, where a main session was loaded again.
    for options in {str(kind): kind for kind in PipelineOptions.__subclasses__()}.values():
        options._add_argparse_args(parser)
    try:
        _, unknown = parser.parse_known_args(list(arguments))
    except ValueError as cause:
        raise _refusal(arguments, str(cause)) from cause
    # What follows an unknown option without a `-` is taken for its value.
    names = [argument.split("=", 1)[0] for argument in unknown if argument.startswith("-")]
    if unknown and not unknown[0].startswith("-"):
        raise _refusal(arguments, f"'{unknown[0]}' belongs to no option")
    known = [name for action in parser._actions for name in action.option_strings]
    found = PipelineOptions(list(arguments))
    has_server = _has_job_server(found.view_as(StandardOptions).runner)
    cutoff = _SURELY_MISSPELT if has_server else _CLOSE
    near = {name: difflib.get_close_matches(name, known, n=1, cutoff=cutoff) for name in names}
    refused = [name for name in near if near[name] or not has_server]
    if refused:
        raise _refusal(arguments, _unknown(refused, near))
    return found


def _has_job_server(runner: str | None) -> bool:
    name = (runner or "").lower().removesuffix("runner")
    return name in _JOB_SERVER_RUNNERS or "." in name


def _unknown(names: Iterable[str], near: dict[str, list[str]]) -> str:
    hints = (
        f"'{name}'" + (f" (did you mean '{near[name][0]}'?)" if near[name] else "")
        for name in names
    )
    return f"Beam knows no option {', '.join(hints)}"


def _refusal(arguments: Sequence[str], found: str) -> ConfigError:
    return ConfigError(
        f"Beam options {' '.join(arguments)!r}: {found.rstrip('.')}. Allowed are Beam's pipeline "
        "options, such as --runner=DataflowRunner --project=...; correct them after `--`."
    )
