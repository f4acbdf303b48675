"""`python -m pipelines` and the command `twotower`: checks the environment, then runs."""

import logging
import os
import sys

from absl import logging as absl_logging

from pipelines.cli.native_lines import hide_native_log_lines
from pipelines.imports import without_collector
from tfrs_twotower.environment import explain_hidden, find_hidden, require_extra
from tfrs_twotower.errors import UnsupportedEnvironment

_EXIT_ENVIRONMENT = 2
_NO_LINES = "3"


def main() -> None:
    """Runs the command line; exits with 2 where a package is hidden or an extra is missing."""
    if "--debug" not in sys.argv:
        _quiet_tensorflow()
    try:
        # `twotower doctor` reports a hidden package itself.
        hidden = [] if "doctor" in sys.argv[1:2] else find_hidden(["serving"])
        if hidden:
            raise UnsupportedEnvironment(explain_hidden(hidden))
        require_extra("cli", "typer", "rich", needed_by="the command twotower")
    except UnsupportedEnvironment as error:
        sys.stderr.write(f"twotower: {error}\n")
        sys.exit(_EXIT_ENVIRONMENT)
    with without_collector():
        from pipelines.cli.app import main as run

    run()


def _quiet_tensorflow() -> None:
    """Keeps TensorFlow's own lines from burying ours, unless the user has chosen a level.

    It writes about devices, kernels and graphs that work. What fails comes as an exception too. The
    variable is read when TensorFlow is loaded, here and in processes that are started from here.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _NO_LINES) != _NO_LINES:
        return
    hide_native_log_lines()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    absl_logging.set_verbosity(absl_logging.ERROR)  # a logger of its own class, made by its import


if __name__ == "__main__":
    main()
