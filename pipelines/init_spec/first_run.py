"""The first run config as commented YAML, and what both documents share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from pipelines.init_spec.left_out_events import tolerance_for
from pipelines.init_spec.spec_draft import SpecDraft

_FEW_CANDIDATES = 500


def render_config(draft: SpecDraft, name: str, spec_file: str) -> str:
    """The text of the run config; the spec is the file `spec_file` beside it."""
    events, corpus = draft.interactions, draft.candidates
    small = events.complete and events.num_records < 20_000
    few = corpus.complete and corpus.num_records < _FEW_CANDIDATES
    kinds = {feature.kind for feature in draft.query_features.features}
    lines = [
        *schema_line("pipelines/configs"),
        "# A first run config, written by `twotower init`. Try it with",
        f"#   twotower run {name}_run.yaml --workdir build/{name}",
        f"name: {name}",
        f"spec: {scalar(spec_file)}",
        "data_root: .  # the spec's paths start where this file is",
        *_tolerance(draft),
        "model:",
        "  embedding_dim: 64",
    ]
    if "history" in kinds:
        lines.append("  history_dropout: 0.5  # so that a query does not depend on single events")
        if len(draft.candidate_features.features) > 1:
            lines.append(
                "  history_content: learned  # categories and words of what a query had count, too"
            )
    lines += [
        "training:",
        f"  batch_size: {128 if small else 1024}  # the other events of a batch are its negatives",
        "  epochs: 20  # at most: early stopping may end training before",
        "  early_stopping:",
        f"    metric: recall@{10 if few else 100}"
        + ("  # the corpus is small" if few else "  # candidates for a later ranking"),
        "    patience: 3",
    ]
    lines += ["index:", "  server: stock  # TensorFlow Serving as it is published"]
    if few:
        lines += ["evaluate:", "  ks: [5, 10, 20]  # list lengths at which metrics are computed"]
    return "\n".join(lines) + "\n"


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
    text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**9)
    return text.strip()[1:-1]
