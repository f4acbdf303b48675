"""The first run config as commented YAML, and what both documents share.

What it says, and why, is in `run_choices`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from pipelines.init_spec import run_choices
from pipelines.init_spec.left_out_events import tolerance_for
from pipelines.init_spec.seen import Seen
from pipelines.init_spec.spec_draft import SpecDraft


def render_config(draft: SpecDraft, name: str, spec_file: str) -> str:
    """The text of the run config; the spec is the file `spec_file` beside it."""
    lines = [
        *schema_line("pipelines/configs"),
        "# A first run config, written by `twotower init`. Try it with",
        f"#   twotower run {name}_run.yaml --workdir build/{name}",
        f"name: {name}",
        f"spec: {scalar(spec_file)}",
        "data_root: .  # the spec's paths start where this file is",
        *_tolerance(draft),
        *_sections(run_choices.choose(Seen.of(draft))),
    ]
    return "\n".join(lines) + "\n"


def _sections(choices: Iterable[run_choices.Choice]) -> Iterable[str]:
    """The lines of the choices, each section below its name."""
    current = None
    for key, value, reason in choices:
        section, _, name = key.partition(".")
        if section != current:
            yield f"{section}:"
            current = section
        said = f"  # {reason}" if reason else ""
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"  {name}:{said}"
            yield from (f"    - {scalar(one)}" for one in value)
        else:
            yield f"  {name}: {scalar(value)}{said}"


def _tolerance(draft: SpecDraft) -> Iterable[str]:
    limit = tolerance_for(draft.bad_share)
    if limit is not None:
        yield "preprocess:"
        yield (
            f"  max_bad_fraction: {limit:g}  # {draft.bad_share:.1%} of a table's records are "
            "unusable: events of unknown candidates, say"
        )


def schema_line(room: str) -> Iterable[str]:
    """The first line of a document for editors that check YAML, where its schema is installed.

    Args:
        room: directory of the schema, relative to the packages.
    """
    schema = Path(__file__).resolve().parents[2] / room / "schema.json"
    if schema.is_file():
        yield f"# yaml-language-server: $schema={schema}"


def scalar(value: Any) -> str:
    """A value as YAML on one line, quoted where YAML needs it, also between braces."""
    text = yaml.safe_dump(
        [value], default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False
    )
    return text.strip()[1:-1]
