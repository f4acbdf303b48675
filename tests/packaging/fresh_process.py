"""Runs code in a Python of its own, in which some packages cannot be imported."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What the extras bring, but for urllib3, which TensorFlow brings itself.
EXTRAS = (
    *("apache_beam", "google_crc32c", "pandas", "scann", "matplotlib", "jinja2", "typer", "rich"),
    *("tensorflow_serving", "grpc", "grpc_health", "h11", "starlette", "uvicorn"),
    *("locust", "gevent", "prometheus_client", "optuna"),
)
_REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
"""


def run(code, *, without=(), cwd=ROOT, path=(ROOT,), interpreter=sys.executable, **environment):
    """Runs a program.

    Args:
        code: the program.
        without: top-level packages that cannot be found.
        cwd: where it runs.
        path: of imports, before what is installed.
        interpreter: which Python.
        **environment: variables to add.
    """
    variables = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        **environment,
    }
    return subprocess.run(
        [interpreter, "-c", _REFUSE.format(refused=tuple(without)) + code],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=variables,
    )


def output_of(code, **settings):
    """What the program prints; it must succeed."""
    result = run(code, **settings)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout
