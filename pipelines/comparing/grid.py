"""A grid file: many variants of one run config, or of several, in a few lines.

base: ../configs/movielens_100k.yaml       # or a list of run configs
rows:
tuned: {}                                # the first row is what the others are tested against
no_logq: {set: {training.softmax.logq: none}}
dat: {set: {model.kind: dat, training.terms.mimic: {}}}
with_titles: {spec: ../../feature_specs/movielens_titles.yaml}
text_only: {set: {model.embedding_dim: 256}, only: [medquad]}
"""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from tfrs_twotower.documents import Document, load_yaml, parse
from tfrs_twotower.errors import ConfigError

RowName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]


class GridRow(Document):
    """One variant."""

    set: dict[str, Any] = {}
    """Keys of the run config, with dots, and their values, as `--set` takes them."""
    spec: str | None = None
    """Another feature spec, relative to the grid file."""
    only: tuple[str, ...] | None = None
    """File names, without `.yaml`, of the run configs that the row is for; by default all."""


class Grid(Document):
    """Variants of run configs."""

    base: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """Run config or run configs, relative to the grid file."""
    rows: Annotated[dict[RowName, GridRow], Field(min_length=1)]
    """Variants by name; `{}` is the run config as it is."""

    @property
    def bases(self) -> tuple[str, ...]:
        """The run configs."""
        return (self.base,) if isinstance(self.base, str) else self.base


def is_grid(path: Path) -> bool:
    """Whether a YAML file is a grid and no run config.

    Raises:
        ConfigError: it is no YAML mapping.
    """
    return "rows" in load_yaml(path, ConfigError)


def load_grid(path: Path) -> Grid:
    """Reads a grid file.

    Raises:
        ConfigError: it is not one, or a row is for a run config that it does not name.
    """
    data = load_yaml(path, ConfigError)
    rows = data.get("rows")
    if isinstance(rows, dict):
        data["rows"] = {str(name): {} if row is None else row for name, row in rows.items()}
    grid = parse(Grid, data, str(path), ConfigError)
    stems = [Path(base).stem for base in grid.bases]
    if len(set(stems)) < len(stems):
        raise ConfigError(
            f"{path}: base: two run configs have the same file name: {', '.join(stems)}"
        )
    for name, row in grid.rows.items():
        strangers = [stem for stem in row.only or () if stem not in stems]
        if strangers:
            raise ConfigError(
                f"{path}: rows.{name}.only: found '{strangers[0]}', the run configs of `base` are "
                f"{', '.join(stems)}"
            )
    return grid


def overrides_of(row: GridRow, grid_path: Path) -> tuple[str, ...]:
    """The row as `a.b=value` overrides of the run config."""
    settings = dict(row.set)
    if row.spec is not None:
        settings["spec"] = str((grid_path.parent / row.spec).resolve())
    return tuple(f"{key}={_as_yaml(value)}" for key, value in settings.items())


def _as_yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return text.removesuffix("...\n").strip()
