"""The first feature spec and run config as commented YAML, written and checked."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from pipelines.init_spec.feature_choices import Draft, Drafts
from pipelines.init_spec.findings import Findings, find_out
from pipelines.init_spec.naming import feature_name, says
from pipelines.init_spec.roles import smallest_positive
from tfrs_twotower.config import load_run_config
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.preflight.run import check_run
from tfrs_twotower.specs import load_spec

_QUANTITY_HINTS = ("quantity", "qty", "count", "plays", "amount", "units")
_SHARED_WORDS = "words"
_FEW_CANDIDATES = 500


def scalar(value: Any) -> str:
    """A value as YAML on one line, quoted where it must be."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9)
    return text.strip().removesuffix("...").strip()


def render_spec(found: Findings, name: str) -> str:
    """The text of the feature spec: valid, and each choice with its reason."""
    lines = [
        "# A first feature spec, written by `twotower init` from a sample of the tables. Read it,",
        "# correct what was guessed wrong, and keep it with the people who own the data.",
        f"name: {name}",
        'description: ""  # what the data is, in a sentence',
        'licence: ""  # licence and attribution',
        "",
        *_interactions(found),
        *_entities(found),
        "query:",
        "  features:",
        *_features(found.query_features, found, "query"),
        "candidate:",
        "  features:",
        *_features(found.candidate_features, found, "candidate"),
        "",
        *_relevance(found),
        *_split(found),
    ]
    return "\n".join(lines) + "\n"


def _interactions(found: Findings) -> Iterable[str]:
    roles, sample = found.roles, found.interactions
    size = f"{sample.num_records:,} records" if sample.complete else "more than the sample"
    yield f"interactions:  # {size}"
    yield f"  path: {scalar(str(sample.path.resolve()))}"
    yield f"  query_id: {scalar(found.query_id.column)}{_shared(found.query_id.shared)}"
    yield f"  candidate_id: {scalar(found.candidate_id.column)}{_shared(found.candidate_id.shared)}"
    if roles.timestamp:
        yield f"  timestamp: {{column: {scalar(roles.timestamp)}, unit: {found.time_unit}}}"
    for key in ("label", "weight", "session", "split"):
        column = getattr(roles, key)
        if column is not None:
            yield f"  {key}: {scalar(column)}  # by its name and values"
    for column in roles.unused:
        if says(column, _QUANTITY_HINTS) and not roles.weight:
            yield f"  # weight: {scalar(column)}  # if more of it should count more in training"
        else:
            yield f"  # not used: {scalar(column)}"


def _shared(share: float) -> str:
    return f"  # {share:.0%} of the sampled ids are in the table's sample" if share else ""


def _entities(found: Findings) -> Iterable[str]:
    if found.queries is not None and found.query_id.entity_column is not None:
        yield "queries:"
        yield f"  path: {scalar(str(found.queries.path.resolve()))}"
        yield f"  id: {scalar(found.query_id.entity_column)}"
        if found.query_title:
            yield f"  title: {scalar(found.query_title)}  # shown to people"
        if found.query_split:
            yield f"  split: {scalar(found.query_split)}"
    yield "candidates:"
    yield f"  path: {scalar(str(found.candidates.path.resolve()))}"
    yield f"  id: {scalar(found.candidate_id.entity_column)}"
    if found.candidate_title:
        yield f"  title: {scalar(found.candidate_title)}  # shown to people"
    yield ""


def _features(drafts: Drafts, found: Findings, side: str) -> Iterable[str]:
    for draft in drafts.features:
        options = {**_names(draft), **draft.options, **_vocabulary(draft, found, side)}
        inside = ", ".join(f"{key}: {scalar(value)}" for key, value in options.items())
        yield f"    # {draft.reason}"
        yield f"    - {{{inside}}}"
    for column, reason in drafts.left_out:
        yield f"    # left out: {scalar(column)} {reason}"


def _names(draft: Draft) -> dict[str, Any]:
    names = {"name": draft.name, "kind": draft.kind}
    if draft.column and draft.column != draft.name:
        names["column"] = draft.column
    return names


def _vocabulary(draft: Draft, found: Findings, side: str) -> dict[str, Any]:
    """Text shares one list of WordPieces; equal names of both sides share nothing else."""
    if draft.kind == "text":
        return {"vocabulary": _SHARED_WORDS, "vocabulary_size": 8000}
    if side == "query" and draft.kind in ("categorical", "multi_categorical", "id"):
        others = {other.name for other in found.candidate_features.features}
        if draft.name in others:
            return {"vocabulary": f"query_{draft.name}"[:64]}
    if draft.name == _SHARED_WORDS and draft.kind != "numeric" and draft.kind != "timestamp":
        return {"vocabulary": f"{side}_{draft.name}"}
    return {}


def _relevance(found: Findings) -> Iterable[str]:
    if found.roles.label is None:
        yield "# No label: every event is positive."
        return
    threshold, reason = smallest_positive(found.event_profiles[found.roles.label])
    yield f"# {found.roles.label}: {reason}."
    if threshold is None:
        yield "# relevance: {min_label: ...}"
    else:
        yield f"relevance: {{min_label: {threshold:g}}}"


def _split(found: Findings) -> Iterable[str]:
    yield f"# {found.split_kind}: {found.split_reason}."
    yield "split:"
    yield f"  kind: {found.split_kind}"
    if found.split_kind == "temporal":
        yield "  test_fraction: 0.1  # the latest events"
        yield "  validation_fraction: 0.1  # those just before them"
    elif found.split_kind == "per_query_last":
        yield "  test: 0.2  # of each query's events"
        yield "  validation: 0.1"
    else:
        for key, word in found.split_values.items():
            yield f"  {key}: {scalar(word)}"
    yield "  new_pairs_only: true  # false if repeats are what you want to predict"


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


def write_first_spec(
    interactions: Path, candidates: Path, queries: Path | None, out: Path, name: str | None
) -> tuple[Path, Path]:
    """Infers a feature spec and a run config from the first records of three tables.

    Args:
        interactions: table of events, CSV, TSV, JSONL or Parquet.
        candidates: table of candidates.
        queries: table of queries, if there is one.
        out: directory for `<name>.yaml` and `<name>_run.yaml`.
        name: of the data set; by default the name of the interactions' directory.

    Returns:
        The paths of the feature spec and of the run config.

    Raises:
        DataError: a table cannot be read, ids do not match, or there is nothing to split by.
        ConfigError: one of the files is there already.
    """
    found = find_out(interactions, candidates, queries)
    name = feature_name(name or interactions.resolve().parent.name)
    spec_path, run_path = out / f"{name}.yaml", out / f"{name}_run.yaml"
    for path in (spec_path, run_path):
        if path.exists():
            raise ConfigError(
                f"{path}: is there already and may hold your corrections. Remove it, or give "
                "another --name or --out."
            )
    out.mkdir(parents=True, exist_ok=True)
    spec_path.write_text(render_spec(found, name), encoding="utf-8")
    run_path.write_text(render_config(found, name, spec_path.name), encoding="utf-8")
    check_run(load_spec(spec_path), load_run_config(run_path))
    return spec_path, run_path
