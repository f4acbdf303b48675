"""`twotower tune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import arguments
from tfrs_twotower.environment import require_extra

if TYPE_CHECKING:
    from pipelines.tuning.tuning_document import TuningDocument

_METRICS = ("ndcg@10", "recall@100")
_MOST_SHOWN = 15


def tune(
    run_config: Annotated[Path, arguments.RUN_ARGUMENT],
    workdir: Annotated[Path, arguments.WORKDIR_OPTION],
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", min=0.01, help="Begin no trial that would end after so many minutes."
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            min=1,
            help="Trials in all; the same number and seed find the same settings, also after a "
            "kill. Without it the search goes on until the minutes are over.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of the search (the run's own is `seed`).")
    ] = 0,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="METRIC@K",
            help="What is to grow: recall, hit_rate, ndcg or mrr at K; repeatable, then the mean "
            f"of their relative changes. By default {' and '.join(_METRICS)}.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Directory for NAME_tuned.yaml; it is created.")
    ] = Path(),
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite NAME_tuned.yaml, if it is there.")
    ] = False,
    overrides: Annotated[list[str] | None, arguments.SET_OPTION] = None,
    json_output: Annotated[bool, arguments.JSON_OPTION] = False,
    beam_options: Annotated[list[str] | None, arguments.BEAM_ARGUMENT] = None,
) -> None:
    """Search better settings on validation queries; write NAME_tuned.yaml.

    Trial 0 is the run config as it is. Then come starts that are often good, added up where they
    help, and then draws that learn from the trials before (Optuna's TPE). Two thirds of the trials
    train the towers; the others fit a second stage behind the best towers, where the data allow
    one. A training that stays behind the median of the others is ended early.

    Test queries are never read. Validation queries are split in two: the search sees one half, and
    the winner is compared with trial 0 on the other. If it is not ahead there, NAME_tuned.yaml has
    the settings as they were, and says so.

    \b
      twotower tune mine/mine_run.yaml --workdir build/tune --minutes 20
      twotower tune mine/mine_run.yaml --workdir build/tune --minutes 60 --metric recall@100
      twotower tune mine/mine_run.yaml --workdir build/tune --trials 30 --seed 1 --out mine
      twotower run mine_run_tuned.yaml --workdir build/tuned
    \b
    NAME_tuned.yaml is the run config with its comments; above each changed line are the old value,
    the reason and the figures. WORKDIR/tuning has every trial (tuning.json, index.html). The same
    command again continues a search that was killed, or whose minutes were over.
    """  # noqa: D301  (click reads the control character)
    from pipelines.shipped_files import find_run_config
    from tfrs_twotower.errors import ConfigError
    from tfrs_twotower.metrics import parse_metric

    if minutes is None and trials is None:
        raise typer.BadParameter("give --minutes, --trials or both.", param_hint="--minutes")
    chosen = tuple(dict.fromkeys(metrics or _METRICS))
    for name in chosen:
        kind = name.partition("@")[0]
        try:
            parse_metric(name)
        except ValueError as error:
            raise typer.BadParameter(f"{error}.", param_hint="--metric") from None
        if kind not in ("recall", "hit_rate", "ndcg", "mrr"):
            raise typer.BadParameter(
                f"'{name}' is not measured in training; take recall, hit_rate, ndcg or mrr.",
                param_hint="--metric",
            )
    require_extra("tune", "optuna", needed_by="the search for settings")
    require_extra("pipelines", "apache_beam", "jinja2", needed_by="the search for settings")
    document = find_run_config(run_config)
    context = arguments.make_context(document, workdir, overrides or (), beam_options or ())
    path = out / f"{document.stem}_tuned.yaml"
    if path.exists() and not force:
        raise ConfigError(
            f"{path}: exists. Give --force to overwrite it, or name another directory with --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    from pipelines.tuning.tuning import DIRECTORY, PAGE, Plan
    from pipelines.tuning.tuning import tune as search

    files = context.layout.root / DIRECTORY
    plan = Plan(document, tuple(overrides or ()), chosen, seed, path, trials, minutes)
    found = search(context, plan)
    if json_output:
        arguments.print_json(_as_json(found, files))
    else:
        _print(found, files / PAGE)


def _as_json(document: "TuningDocument", files: Path) -> dict[str, Any]:
    """What `tune --json` prints: where the files are, and the outcome."""
    from pipelines.tuning.tuning import PAGE
    from pipelines.tuning.tuning_document import NAME

    assert document.outcome is not None
    return {
        "trials": str(files / NAME),
        "page": str(files / PAGE),
        "trained": sum(one.trained for one in document.trials),
        **document.outcome.model_dump(mode="json"),
    }


def _print(document: "TuningDocument", page: Path) -> None:
    """Prints the leaderboard of the trials, what was changed and what it is worth."""
    from rich.table import Table

    from pipelines.tuning.tuning_document import best_first, chance

    outcome, console = document.outcome, arguments.output_console()
    assert outcome is not None
    table = Table(title=f"{document.run}: trials on the queries of the search", box=None)
    for column in ("trial", "gain", *document.metrics, "settings"):
        table.add_column(column, justify="left" if column in ("trial", "settings") else "right")
    shown = best_first(document.trials)[:_MOST_SHOWN]
    for one in shown:
        figures = [f"{one.metrics[name]:.4f}" for name in document.metrics]
        table.add_row(one.title, f"{one.gain or 0.0:+.2%}", *figures, one.settings)
    console.print()
    console.print(table)
    others = len(document.trials) - len(shown)
    if others:
        console.print(f"{others} further trials, some ended early, are on the page.")
    if outcome.importance:
        shares = ", ".join(f"{key} {share:.0%}" for key, share in outcome.importance.items())
        console.print(
            f"What told good trials from the others (PED-ANOVA): {shares}", soft_wrap=True
        )
    for line in outcome.held_out:
        console.print(
            f"Held out: {line.metric} {line.unchanged:.4f} -> {line.tuned:.4f} ({chance(line.p)})"
        )
    verdict = "Changed" if outcome.changed else "Nothing is changed"
    console.print(f"{verdict}: {outcome.reason}.", soft_wrap=True)
    console.print(f"Every trial: {page}", soft_wrap=True)
    console.print(f"Run config: {outcome.config}", soft_wrap=True)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(short_help="Search better settings on validation queries.")(tune)
