"""The console that answers are printed on."""

import sys

from rich.console import Console

_WIDTH_OF_FILES = 160


def output_console() -> Console:
    """As wide as the terminal; wide enough for a table where the output is a file or a pipe."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_FILES
    return Console(highlight=False, markup=False, width=width)
