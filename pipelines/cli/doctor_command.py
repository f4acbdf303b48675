"""`twotower doctor`."""

from typing import Annotated

import typer

from pipelines.cli.running import JSON_OPTION, print_json


def doctor(json_output: Annotated[bool, JSON_OPTION] = False) -> None:
    """Check versions, Keras 2, the ScaNN and TensorFlow match, AVX2 and op libraries.

    Exit code 0 if everything fits, 2 if something does not; each finding says the fix.
    """
    from dataclasses import asdict

    from serving.doctor import examine

    findings = examine()
    broken = [finding for finding in findings if not finding.healthy]
    if json_output:
        print_json({"healthy": not broken, "findings": [asdict(f) for f in findings]})
    else:
        for finding in findings:
            mark = "ok   " if finding.healthy else "WRONG"
            typer.echo(f"{mark} {finding.subject}: {finding.found}")
            if not finding.healthy:
                typer.echo(f"      fix: {finding.fix}")
    if broken:
        raise typer.Exit(2)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(short_help="Check this environment, and say the fixes.")(doctor)
