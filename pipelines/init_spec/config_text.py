"""The run config as commented YAML."""

from pipelines.init_spec.findings import Findings
from pipelines.init_spec.spec_text import scalar

_FEW_CANDIDATES = 500


def render_config(found: Findings, name: str, spec_file: str) -> str:
    """The text of the run config; `spec_file` lies beside it."""
    events, corpus = found.interactions, found.candidates
    small = events.complete and events.num_records < 20_000
    few = corpus.complete and corpus.num_records < _FEW_CANDIDATES
    kinds = {draft.kind for draft in found.query_features.features}
    lines = [
        "# A first run config, written by `twotower init`. Try it with",
        f"#   twotower run {name}_run.yaml --workdir build/{name}",
        f"name: {name}",
        f"spec: {scalar(spec_file)}",
        "model:",
        "  embedding_dim: 64",
    ]
    if "history" in kinds:
        lines.append("  history_dropout: 0.5  # keeps a query from leaning on single events")
    lines += [
        "training:",
        f"  batch_size: {128 if small else 1024}  # each event's negatives are its batch",
        "  epochs: 20  # at most: early stopping ends it",
        "  early_stopping:",
        f"    metric: recall@{10 if few else 100}"
        + ("  # the corpus is small" if few else "  # candidates for a later ranking"),
        "    patience: 3",
    ]
    if few:
        lines += ["evaluate:", "  ks: [5, 10, 20]  # lengths of the lists that are judged"]
    return "\n".join(lines) + "\n"
