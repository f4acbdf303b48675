"""Run configs, a spec and grids in a directory, for tests that train nothing."""

import yaml

from tests.fixtures.tiny import tiny_run_config, tiny_spec


def write_documents(directory):
    """Writes tiny.yaml (spec), one.yaml and two.yaml (run configs)."""
    dump(directory / "tiny.yaml", tiny_spec().model_dump(mode="json", exclude_unset=True))
    for name in ("one", "two"):
        settings = tiny_run_config().model_dump(mode="json", exclude_unset=True)
        dump(directory / f"{name}.yaml", {**settings, "name": name, "data_root": "data"})
    return directory


def dump(path, content):
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def grid(directory, rows, base="one.yaml", name="grid.yaml"):
    return dump(directory / name, {"base": base, "rows": rows})
