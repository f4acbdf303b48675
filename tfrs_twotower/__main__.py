"""Starts the command that this distribution registers, once its package is found.

The check must not lie in that package: it would not run where another package of the same name is
in front. The distribution's metadata name the command (entry points, group
`tfrs_twotower.command`), so that the library names nothing above it.
"""

import sys
from importlib.metadata import entry_points

from tfrs_twotower.environment import explain_hidden, find_hidden, how_to_install

_EXIT_ENVIRONMENT = 2


def main() -> None:
    """Runs the command; exits with 2 where it is not installed or hidden by another package."""
    commands = entry_points(group="tfrs_twotower.command")
    if not commands:
        sys.stderr.write(f"no command is installed: run {how_to_install('all')}\n")
        sys.exit(_EXIT_ENVIRONMENT)
    command = next(iter(commands))
    if hidden := find_hidden([command.module.partition(".")[0]]):
        sys.stderr.write(f"{command.name}: {explain_hidden(hidden)}\n")
        sys.exit(_EXIT_ENVIRONMENT)
    command.load()()


if __name__ == "__main__":
    main()
