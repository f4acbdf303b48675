"""The runs of a comparison: run configs, and the rows of grid files, each checked.

A grid file holds many variants of one run config, or of several, in a few lines:

base: ../configs/movielens_100k.yaml       # or a list of run configs
rows:
  tuned: {}                                # the others are tested against the first row
  no_logq: {set: {training.softmax.logq: none}}
  dat: {set: {model.kind: dat, training.terms.mimic: {}}}
  with_titles: {spec: ../../feature_specs/movielens_titles.yaml}
  text_only: {set: {model.embedding_dim: 256}, only: [medquad]}
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tfrs_twotower.artifacts import fingerprint
from tfrs_twotower.config import RunConfig, as_override, data_root, load_run_config, spec_path
from tfrs_twotower.documents import Document, load_yaml, parse, user_path
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.preflight.run import check_run
from tfrs_twotower.specs import TextFeature, load_spec

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
    """Variants by name; `{}` is the unchanged run config."""

    @property
    def bases(self) -> tuple[str, ...]:
        """The run configs."""
        return (self.base,) if isinstance(self.base, str) else self.base


@dataclass(frozen=True)
class PlannedRun:
    """One run config or row, checked.

    Attributes:
        name: name of the run and of its directory under `runs/`; unique.
        label: name of the run in tables.
        config: its settings, with absolute paths.
        data: identifies the preprocessing; equal for runs that can share it.
        fuses: whether its evaluation has `hybrid`, the only baseline that includes a model.
        baselines_of: name of the run that fits the baselines for this one.
    """

    name: str
    label: str
    config: RunConfig
    data: str
    fuses: bool
    baselines_of: str

    def baselines(self, seed: int) -> tuple[str, ...] | None:
        """The value of `evaluate.baselines` for a seed; None leaves it unchanged.

        Baselines do not depend on the seed: the first seed of one run fits them for all runs that
        would fit the same ones. Only `hybrid` is fitted for every seed.
        """
        if seed == 0 and self.baselines_of == self.name:
            return None
        return ("hybrid",) if self.fuses else ()


def load_plan(paths: Sequence[Path], overrides: Sequence[str] = ()) -> list[PlannedRun]:
    """Reads run configs and grids and checks all of them, before anything runs.

    Raises:
        ConfigError: a document is wrong, does not fit its spec, or two runs have the same name.
        FeatureSpecError: a feature spec is wrong.
    """
    runs: dict[str, PlannedRun] = {}
    for path in paths:
        for run in _runs_of(path, tuple(overrides)):
            if run.name in runs:
                raise ConfigError(
                    f"{path}: the name '{run.name}' occurs twice in this comparison; rename a "
                    "file or a row."
                )
            runs[run.name] = run
    fitting: dict[str, str] = {}
    for name in sorted(runs):  # not in the given order, so that another order changes nothing
        fitting.setdefault(_baselines_fingerprint(runs[name]), name)
    return [
        replace(run, baselines_of=fitting[_baselines_fingerprint(run)]) for run in runs.values()
    ]


def _baselines_fingerprint(run: PlannedRun) -> str:
    """A hash that is equal for runs that would fit the same baselines."""
    evaluate = run.config.evaluate.model_dump(mode="json")
    return fingerprint({"data": run.data, "evaluate": evaluate, "refit": run.config.training.refit})


def _runs_of(path: Path, overrides: tuple[str, ...]) -> Iterator[PlannedRun]:
    if "rows" not in load_yaml(path, ConfigError):
        yield _plan(path, path.stem, path.stem, overrides)
        return
    grid = load_grid(path)
    for base in grid.bases:
        base_path = user_path(base, path.parent)
        for name, row in grid.rows.items():
            if row.only is not None and base_path.stem not in row.only:
                continue
            full_name = name if len(grid.bases) == 1 else f"{base_path.stem}-{name}"
            try:
                yield _plan(base_path, full_name, name, (*_overrides_of(row, path), *overrides))
            except ConfigError as error:
                raise ConfigError(f"{path}: row {name}: {error}") from None


def _plan(path: Path, name: str, label: str, overrides: tuple[str, ...]) -> PlannedRun:
    config = load_run_config(path, overrides)
    root = data_root(config, path)
    spec_file = spec_path(config, path)
    spec = load_spec(spec_file)
    check_run(spec, config)
    preprocess = config.preprocess.model_dump(mode="json")
    wanted = config.evaluate.baselines
    texts_meet = all(
        any(isinstance(feature, TextFeature) for feature in side.features)
        for side in (spec.query, spec.candidate)
    )
    data = {"spec": spec.model_dump(mode="json"), "preprocess": preprocess, "root": str(root)}
    return PlannedRun(
        name=name,
        label=label,
        config=config.model_copy(update={"spec": str(spec_file), "data_root": str(root)}),
        data=fingerprint(data),
        fuses=texts_meet and (wanted is None or "hybrid" in wanted),
        baselines_of=name,
    )


def load_grid(path: Path) -> Grid:
    """Reads a grid file.

    Raises:
        ConfigError: the file is not a grid, or a row is for a run config that it does not name.
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


def _overrides_of(row: GridRow, grid_path: Path) -> tuple[str, ...]:
    """The row as `a.b=value` overrides of the run config."""
    settings = dict(row.set)
    if row.spec is not None:
        settings["spec"] = str(user_path(row.spec, grid_path.parent).resolve())
    return tuple(as_override(key, value) for key, value in settings.items())
