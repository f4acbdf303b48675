"""Commands for the versions of a bundle: `refresh`, `rollback`, `versions`, `verify`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import arguments


def refresh(
    bundle: Annotated[Path, arguments.SHARDED_BUNDLE_ARGUMENT],
    candidates: Annotated[
        Path | None,
        typer.Option(
            "--candidates",
            metavar="FILE",
            help="New and changed candidates: a table with the columns of the feature spec's "
            "candidates, in any of its formats.",
        ),
    ] = None,
    withdraw: Annotated[
        Path | None,
        typer.Option(
            "--withdraw",
            metavar="FILE",
            help="Candidates to remove: a text file with an id in each line.",
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="--candidates is the whole corpus: remove candidates that are not in it.",
        ),
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="export.gate.KEY=VALUE",
            help="Another limit of the release gate for this refresh, such as "
            "export.gate.max_shrink=0.5, or null to switch the check off; repeatable.",
        ),
    ] = None,
    json_output: Annotated[bool, arguments.JSON_OPTION] = False,
) -> None:
    """Publish a new version of a bundle with other candidates, without training.

    The bundle's own towers embed candidates that are new or whose features changed; the vectors of
    the others are kept. The index is built again with the bundle's settings, measured, and compared
    with the served version: its number of candidates, too, may neither shrink nor grow beyond the
    limits of export.gate. A new candidate has no interactions yet, so its popularity is zero until
    the next training. If nothing changes, no version is published.

    \b
      twotower refresh build/mine/bundle/mine --candidates new_books.csv
      twotower refresh build/mine/bundle/mine --withdraw sold_out.txt
      twotower refresh build/mine/bundle/mine --candidates all_books.csv --replace
      twotower refresh build/mine/bundle/mine --candidates half.csv --replace \\
          --set export.gate.max_shrink=0.6
    """  # noqa: D301  (click reads the control character)
    if candidates is None and withdraw is None:
        raise typer.BadParameter("give --candidates, --withdraw, or both.")
    if replace and candidates is None:
        raise typer.BadParameter("needs --candidates, the whole corpus.", param_hint="--replace")
    arguments.expect_versions(bundle)
    arguments.expect_files(candidates, withdraw)
    from pipelines.cli.reporting import make_reporter
    from pipelines.stages.refresh import run

    refreshed = run(
        bundle,
        candidates,
        withdraw,
        replace=replace,
        reporter=make_reporter(),
        overrides=overrides or (),
    )
    if json_output:
        arguments.print_json(
            {
                "published": any(outcome.written for outcome in refreshed),
                "bundles": [
                    {
                        "directory": str(outcome.bundle / str(outcome.served)),
                        "version": outcome.served,
                        "candidates": len(outcome.changes.ids),
                        "added": outcome.changes.num_added,
                        "changed": outcome.changes.num_changed,
                        "withdrawn": outcome.changes.num_withdrawn,
                        "unknown": outcome.changes.unknown,
                    }
                    for outcome in refreshed
                ],
            }
        )


def rollback(
    bundle: Annotated[Path, arguments.SHARDED_BUNDLE_ARGUMENT],
    version: Annotated[
        int | None,
        typer.Option(
            "--to", metavar="VERSION", help="By default the latest version before the served one."
        ),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Serve the newest version again.")] = False,
    json_output: Annotated[bool, arguments.JSON_OPTION] = False,
) -> None:
    """Serve an earlier version of a bundle, or the newest again.

    Checks the files of the version and points models.config to it. A TF Serving that was started
    with --model_config_file=.../models.config and --model_config_file_poll_wait_seconds=30 loads
    that version within 30 seconds and then unloads the other, without a failed request; one that
    does not poll needs ModelService.HandleReloadConfigRequest, or a restart. The next export or
    refresh is served as soon as it is published.

    \b
      twotower rollback build/mine/bundle/mine
      twotower rollback build/mine/bundle/mine --to 1732159297
      twotower rollback build/mine/bundle/mine --undo
    """  # noqa: D301  (click reads the control character)
    from serving.bundle.rollback import roll_back, undo_rollback

    if undo and version is not None:
        raise typer.BadParameter("cannot be given with --to.", param_hint="--undo")
    served = undo_rollback(bundle) if undo else roll_back(bundle, version)
    if json_output:
        arguments.print_json({"bundle": str(bundle), "served_version": served})
    else:
        typer.echo(f"{bundle}: models.config serves version {served}.")


def versions(
    bundle: Annotated[Path, arguments.SHARDED_BUNDLE_ARGUMENT],
    json_output: Annotated[bool, arguments.JSON_OPTION] = False,
) -> None:
    """List the versions of a bundle: what made each and when, its size, and which one is served.

    An export stays until another export replaces it, beside the newest export.keep_versions
    versions: a refresh does not remove the export that it started from.

    \b
      twotower versions build/mine/bundle/mine
      twotower versions build/mine/bundle/mine --json
    """  # noqa: D301  (click reads the control character)
    from serving.bundle.history import read_history

    histories = read_history(bundle)
    if json_output:
        arguments.print_json({"bundles": [history.as_json() for history in histories]})
        return
    from rich.table import Table

    console = arguments.output_console()
    for history in histories:
        table = Table(box=None, header_style="bold")
        for title in ("version", "made by", "when (UTC)", "candidates", "k", "MB", ""):
            numeric = title in ("version", "candidates", "k", "MB")
            table.add_column(title, justify="right" if numeric else "left", no_wrap=numeric)
        for record in history.records:
            table.add_row(*record.as_row(rolled_back=history.rolled_back))
        console.print(f"{history.bundle}:")
        console.print(table)


def verify(
    bundle: Annotated[
        Path,
        typer.Argument(
            metavar="BUNDLE",
            show_default=False,
            help="Bundle directory, WORKDIR/bundle/NAME, for all its versions (and, without "
            "-shard-..., all shards); or one version in it.",
        ),
    ],
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="PUBLIC.pem",
            show_default=False,
            help="The public key that must have signed the versions; by default that of "
            "$TWOTOWER_VERIFY_KEY, if it is set.",
        ),
    ] = None,
    json_output: Annotated[bool, arguments.JSON_OPTION] = False,
) -> None:
    """Check that versions are, file for file, what was published.

    Exit code 0 if every version has exactly the files that its SHA256SUMS lists, the manifest
    included, with their checksums, and no symbolic link; 1 otherwise. With a key, each must be
    signed with it as well; without one, checksums show damage, but not somebody who changed files
    and list alike. Every command that loads a version checks the same first.

    Versions are signed if $TWOTOWER_SIGNING_KEY names a private key (Ed25519, PEM) when
    they are exported or refreshed; with $TWOTOWER_VERIFY_KEY set, no command loads another one.

    \b
      openssl genpkey -algorithm ed25519 -out private.pem
      openssl pkey -in private.pem -pubout -out public.pem
      twotower verify build/mine/bundle/mine --key public.pem
    """  # noqa: D301  (click reads the control character)
    from serving.bundle import integrity, signing_keys, versions
    from tfrs_twotower.data.lines import shown
    from tfrs_twotower.errors import ArtifactError

    if key is None:
        public = signing_keys.trusted_key()
    else:
        public = signing_keys.read_public_key(key, "--key")
    found, failed = [], False
    for directory in versions.version_directories(bundle):
        try:
            verified = integrity.verify_version(directory, public)
        except ArtifactError as problem:
            failed = True
            found.append({"directory": str(directory), "problem": str(problem)})
            if not json_output:
                typer.echo(shown(str(problem)), err=True)
            continue
        found.append(verified.as_json(is_verified=public is not None))
        failed = failed or not verified.has_checksums
        if not json_output:
            line = verified.line(is_verified=public is not None)
            typer.echo(shown(line), err=not verified.has_checksums)
    if json_output:
        arguments.print_json({"ok": not failed, "versions": found})
    if failed:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(short_help="Change a bundle's candidates without training.")(refresh)
    app.command(short_help="Serve an earlier version of a bundle.")(rollback)
    app.command(short_help="List a bundle's versions and what made them.")(versions)
    app.command(short_help="Check that versions are what was published.")(verify)
