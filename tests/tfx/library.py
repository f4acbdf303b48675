"""The planted library as a run of few seconds, for both environments."""

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.own_tables import write_own_tables

_ROOT = Path(__file__).parents[2]
SPEC = """
name: library
interactions:
  path: tables/Loans.csv
  query_id: Reader Name
  candidate_id: Book No
  timestamp: {column: Borrowed At, unit: iso}
queries: {path: tables/Readers.csv, id: Reader Name}
candidates: {path: tables/Books.csv, id: Book No}
query:
  features:
    - {name: history, kind: history, max_length: 10}
    - {name: town, kind: categorical, column: Town}
candidate:
  features:
    - {name: book_no, kind: id, column: Book No}
    - {name: shelf, kind: categorical, column: Shelf}
split: {kind: temporal, test_fraction: 0.2, validation_fraction: 0.1, new_pairs_only: true}
"""
RUN = """
name: library
spec: library.yaml
data_root: .
model: {embedding_dim: 16, num_residual_layers: 0}
training:
  batch_size: 64
  epochs: 4
  optimizer: {learning_rate: 0.01}
  early_stopping: null
pre_ranking:
  num_candidates: 40
  models: [{kind: inttower, embedding_dim: 8}]
  item_knn: {neighbours: 20}
  mining: {depth: 20}
  epochs: 1
  batch_size: 128
index: {server: stock, k: 20}
export: {k: 20}
evaluate: {ks: [10, 20], baselines: [popularity]}
"""


def write_library(directory: Path) -> Path:
    """Writes tables, feature spec and run config; returns the path of the last."""
    write_own_tables(directory / "tables")
    (directory / "library.yaml").write_text(SPEC)
    run = directory / "library_run.yaml"
    run.write_text(RUN)
    return run


def twotower(*arguments: object, code: int = 0, python: str = sys.executable) -> str:
    """Runs a command, in this environment or another; returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [python, "-m", "pipelines", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert result.returncode == code, f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout
