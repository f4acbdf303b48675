"""`python -m pipelines` and the command `twotower`: checks the environment, then runs."""

import sys

from tfrs_twotower.environment import explain_hidden, find_hidden, require_extra
from tfrs_twotower.errors import UnsupportedEnvironment

_EXIT_ENVIRONMENT = 2


def main() -> None:
    """Runs the command line; exits with 2 where a package is hidden or an extra is missing."""
    try:
        # `twotower doctor` reports a hidden package itself.
        hidden = [] if "doctor" in sys.argv[1:2] else find_hidden(["serving"])
        if hidden:
            raise UnsupportedEnvironment(explain_hidden(hidden))
        require_extra("cli", "typer", "rich", needed_by="the command twotower")
    except UnsupportedEnvironment as error:
        sys.stderr.write(f"twotower: {error}\n")
        sys.exit(_EXIT_ENVIRONMENT)
    from pipelines.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
