"""Writes the first feature spec and run config, and checks that they load."""

from pathlib import Path

from pipelines.init_spec.config_text import render_config
from pipelines.init_spec.findings import find_out
from pipelines.init_spec.naming import feature_name
from pipelines.init_spec.spec_text import render_spec
from tfrs_twotower.config import load_run_config
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.preflight.run import check_run
from tfrs_twotower.specs import load_spec


def write_first_spec(
    interactions: Path, candidates: Path, queries: Path | None, out: Path, name: str | None
) -> tuple[Path, Path]:
    """Infers a feature spec and a run config from the first records of three tables.

    Args:
        interactions: table of events, CSV, TSV, JSONL or Parquet.
        candidates: table of candidates.
        queries: table of queries, if there is one.
        out: directory for `<name>.yaml` and `<name>_run.yaml`.
        name: of the data set; by default the name of the interactions' directory.

    Returns:
        The paths of the feature spec and of the run config.

    Raises:
        DataError: a table cannot be read, ids do not match, or there is nothing to split by.
        ConfigError: one of the files is there already.
    """
    found = find_out(interactions, candidates, queries)
    name = feature_name(name or interactions.resolve().parent.name)
    spec_path, run_path = out / f"{name}.yaml", out / f"{name}_run.yaml"
    for path in (spec_path, run_path):
        if path.exists():
            raise ConfigError(
                f"{path}: is there already and may hold your corrections. Remove it, or give "
                "another --name or --out."
            )
    out.mkdir(parents=True, exist_ok=True)
    spec_path.write_text(render_spec(found, name), encoding="utf-8")
    run_path.write_text(render_config(found, name, spec_path.name), encoding="utf-8")
    check_run(load_spec(spec_path), load_run_config(run_path))
    return spec_path, run_path
