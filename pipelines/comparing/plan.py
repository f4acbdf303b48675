"""What a comparison has to run: every run config, every row of a grid, each with every seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.comparing.grid import is_grid, load_grid, overrides_of
from tfrs_twotower.artifacts import fingerprint
from tfrs_twotower.config import RunConfig, data_root, load_run_config, spec_path
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.preflight.run import check_run
from tfrs_twotower.specs import TextFeature, load_spec


@dataclass(frozen=True)
class PlannedRun:
    """One run config or row, checked.

    Attributes:
        name: directory under `runs/`; no other run has it.
        label: what tables call it.
        config: its settings, with absolute paths.
        data: identifies what preprocessing reads and does: equal for runs that can share it.
        fuses: whether its evaluation has `hybrid`, the one baseline that a model is part of.
        baselines_of: name of the run that fits the baselines for this one.
    """

    name: str
    label: str
    config: RunConfig
    data: str
    fuses: bool
    baselines_of: str

    def baselines(self, seed: int) -> tuple[str, ...] | None:
        """What to set `evaluate.baselines` to for a seed; None leaves it as it is.

        Baselines do not depend on the seed: the first one of one run fits them for all runs that
        would fit the same. Only `hybrid` is fitted each time.
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
                    f"{path}: the name '{run.name}' stands twice in this comparison; rename a "
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
    """Equal for runs that would fit the same baselines."""
    evaluate = run.config.evaluate.model_dump(mode="json")
    return fingerprint({"data": run.data, "evaluate": evaluate, "refit": run.config.training.refit})


def _runs_of(path: Path, overrides: tuple[str, ...]) -> Iterator[PlannedRun]:
    if not is_grid(path):
        yield _plan(path, path.stem, path.stem, overrides)
        return
    grid = load_grid(path)
    for base in grid.bases:
        base_path = path.parent / base
        for name, row in grid.rows.items():
            if row.only is not None and base_path.stem not in row.only:
                continue
            full_name = name if len(grid.bases) == 1 else f"{base_path.stem}-{name}"
            try:
                yield _plan(base_path, full_name, name, (*overrides_of(row, path), *overrides))
            except ConfigError as error:
                raise ConfigError(f"{path}: row {name}: {error}") from None


def _plan(path: Path, name: str, label: str, overrides: tuple[str, ...]) -> PlannedRun:
    config = load_run_config(path, overrides)
    root = data_root(config, path)
    where = spec_path(config, path)
    spec = load_spec(where)
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
        config=config.model_copy(update={"spec": str(where), "data_root": str(root)}),
        data=fingerprint(data),
        fuses=texts_meet and (wanted is None or "hybrid" in wanted),
        baselines_of=name,
    )
