"""Writes the first feature spec and run config as commented YAML, and checks them."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import yaml

from pipelines.init_spec import feature_choices, identifiers, profiles, samples, spec_draft
from pipelines.init_spec.roles import smallest_positive
from pipelines.transforms.cells import as_number
from tfrs_twotower.config import load_run_config
from tfrs_twotower.errors import ConfigError, RecordError
from tfrs_twotower.preflight.run import check_run
from tfrs_twotower.specs import load_spec

_QUANTITY_HINTS = ("quantity", "qty", "count", "plays", "amount", "units")
_SHARED_WORDS = "words"
_FEW_CANDIDATES = 500
_MOST_QUERIES = 0.9


def scalar(value: Any) -> str:
    """A value as YAML on one line, quoted where YAML needs it."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9)
    return text.strip().removesuffix("...").strip()


def render_spec(draft: spec_draft.SpecDraft, name: str) -> str:
    """The text of the feature spec, with the reason beside each choice."""
    lines = [
        "# A first feature spec, written by `twotower init` from a sample of the tables. Read it,",
        "# and correct wrong guesses together with the people who own the data.",
        f"name: {name}",
        'description: ""  # what the data is, in a sentence',
        'licence: ""  # licence and attribution',
        "",
        *_interactions(draft),
        *_entities(draft),
        "query:",
        "  features:",
        *_features(draft.query_features, draft, "query"),
        "candidate:",
        "  features:",
        *_features(draft.candidate_features, draft, "candidate"),
        "",
        *_relevance(draft),
        *_split(draft),
    ]
    return "\n".join(lines) + "\n"


def _interactions(draft: spec_draft.SpecDraft) -> Iterable[str]:
    roles, sample = draft.roles, draft.interactions
    size = f"{sample.num_records:,} records" if sample.complete else "more than the sample"
    yield f"interactions:  # {size}"
    yield from _files(sample)
    yield from _missing(draft.event_profiles, draft.used_columns("interactions"))
    yield f"  query_id: {scalar(draft.query_id.column)}{_shared(draft.query_id.shared)}"
    yield f"  candidate_id: {scalar(draft.candidate_id.column)}{_shared(draft.candidate_id.shared)}"
    if roles.timestamp:
        yield f"  timestamp: {{column: {scalar(roles.timestamp)}, unit: {draft.time_unit}}}"
    for key in ("label", "weight", "session", "split"):
        column = getattr(roles, key)
        if column is not None:
            yield f"  {key}: {scalar(column)}  # by its name and values"
    for column in roles.unused:
        if profiles.mentions(column, _QUANTITY_HINTS) and not roles.weight:
            yield f"  # weight: {scalar(column)}  # if larger values should weigh more in training"
        else:
            yield f"  # not used: {scalar(column)}"


def _files(sample: samples.Sample) -> Iterable[str]:
    """Where a table is and, where it is not what the suffix promises, how it is written."""
    yield f"  path: {scalar(str(sample.path.expanduser().absolute()))}"
    for option, value in sample.options.items():
        reason = sample.reasons.get(option, "as the first lines show")
        yield f"  {option}: {scalar(value)}  # {reason}"


def _missing(table: profiles.Profiles, columns: Collection[str]) -> Iterable[str]:
    words = sorted({word for name in columns for word in table[name].missing_words})
    if words:
        yield f"  missing: {scalar(words)}  # unless these are values like any other"


def _whole_numbers(match: identifiers.IdMatch) -> Iterable[str]:
    if match.whole_numbers:
        yield "  whole_number_ids: true  # the two tables write them in different ways"


def _shared(share: float) -> str:
    return f"  # {share:.0%} of the sampled ids are in the sample of the table" if share else ""


def _entities(draft: spec_draft.SpecDraft) -> Iterable[str]:
    if draft.queries is not None and draft.query_id.entity_column is not None:
        yield "queries:"
        yield from _files(draft.queries)
        yield from _missing(draft.query_profiles, draft.used_columns("queries"))
        yield f"  id: {scalar(draft.query_id.entity_column)}"
        yield from _whole_numbers(draft.query_id)
        if draft.query_title:
            yield f"  title: {scalar(draft.query_title)}  # shown to people"
        if draft.query_split:
            yield f"  split: {scalar(draft.query_split)}"
    yield "candidates:"
    yield from _files(draft.candidates)
    yield from _missing(draft.candidate_profiles, draft.used_columns("candidates"))
    yield f"  id: {scalar(draft.candidate_id.entity_column)}"
    yield from _whole_numbers(draft.candidate_id)
    if draft.candidate_title:
        yield f"  title: {scalar(draft.candidate_title)}  # shown to people"
    yield ""


def _features(
    drafts: feature_choices.FeatureDrafts, draft: spec_draft.SpecDraft, side: str
) -> Iterable[str]:
    for feature in drafts.features:
        options = {**_names(feature), **feature.options, **_vocabulary(feature, draft, side)}
        inside = ", ".join(f"{key}: {scalar(value)}" for key, value in options.items())
        yield f"    # {feature.reason}"
        yield f"    - {{{inside}}}"
    for column, reason in drafts.left_out:
        yield f"    # left out: {scalar(column)} {reason}"


def _names(feature: feature_choices.FeatureDraft) -> dict[str, Any]:
    names = {"name": feature.name, "kind": feature.kind}
    if feature.column and feature.column != feature.name:
        names["column"] = feature.column
    return names


def _vocabulary(
    feature: feature_choices.FeatureDraft, draft: spec_draft.SpecDraft, side: str
) -> dict[str, Any]:
    """Gives all texts one WordPiece list, and equal names of the two sides vocabularies apart."""
    if feature.kind == "text":
        both = (*draft.query_features.features, *draft.candidate_features.features)
        accents = any(other.options.get("keep_accents") for other in both)
        kept = {"keep_accents": True} if accents else {}
        return {"vocabulary": _SHARED_WORDS, "vocabulary_size": 8000, **kept}
    if side == "query" and feature.kind in ("categorical", "multi_categorical", "id"):
        candidate_names = {other.name for other in draft.candidate_features.features}
        if feature.name in candidate_names:
            return {"vocabulary": f"query_{feature.name}"[:64]}
    if feature.name == _SHARED_WORDS and feature.kind not in ("numeric", "timestamp"):
        return {"vocabulary": f"{side}_{feature.name}"}
    return {}


def _relevance(draft: spec_draft.SpecDraft) -> Iterable[str]:
    if draft.roles.label is None:
        yield "# No label: every event is positive."
        return
    label, timed = draft.roles.label, draft.roles.timestamp is not None
    threshold, reason = smallest_positive(draft.event_profiles[label], timed=timed)
    yield f"# {label}: {reason}."
    if threshold is None:
        yield "# relevance: {min_label: ...}"
    else:
        share = _queries_with_positive(draft, label, threshold)
        if share < _MOST_QUERIES:
            yield (
                f"# Only {share:.0%} of the sampled queries have an event with {threshold:g} or "
                "more: the others are not evaluated."
            )
        yield f"relevance: {{min_label: {threshold:g}}}"


def _queries_with_positive(
    draft: spec_draft.SpecDraft, label_column: str, threshold: float
) -> float:
    """The share of the sampled queries that have a positive event, 0 to 1."""
    columns = draft.interactions.columns
    positive: dict[Any, bool] = {}
    for query, label in zip(columns[draft.query_id.column], columns[label_column], strict=True):
        try:
            relevant = as_number(label) >= threshold
        except RecordError:
            relevant = False
        positive[query] = positive.get(query, False) or relevant
    return sum(positive.values()) / max(len(positive), 1)


def _split(draft: spec_draft.SpecDraft) -> Iterable[str]:
    yield f"# {draft.split_kind}: {draft.split_reason}."
    yield "split:"
    yield f"  kind: {draft.split_kind}"
    if draft.split_kind == "temporal":
        yield "  test_fraction: 0.1  # the latest events"
        yield "  validation_fraction: 0.1  # those just before them"
    elif draft.split_kind == "per_query_last":
        yield "  test: 0.2  # of each query's events"
        yield "  validation: 0.1"
    else:
        for split, value in draft.split_values.items():
            yield f"  {split}: {scalar(value)}"
    yield "  new_pairs_only: true  # false to predict repeats as well"


def render_config(draft: spec_draft.SpecDraft, name: str, spec_file: str) -> str:
    """The text of the run config; the spec is the file `spec_file` beside it."""
    events, corpus = draft.interactions, draft.candidates
    small = events.complete and events.num_records < 20_000
    few = corpus.complete and corpus.num_records < _FEW_CANDIDATES
    kinds = {feature.kind for feature in draft.query_features.features}
    lines = [
        "# A first run config, written by `twotower init`. Try it with",
        f"#   twotower run {name}_run.yaml --workdir build/{name}",
        f"name: {name}",
        f"spec: {scalar(spec_file)}",
        "model:",
        "  embedding_dim: 64",
    ]
    if "history" in kinds:
        lines.append("  history_dropout: 0.5  # so that a query does not depend on single events")
    lines += [
        "training:",
        f"  batch_size: {128 if small else 1024}  # the other events of a batch are its negatives",
        "  epochs: 20  # at most: early stopping may end training before",
        "  early_stopping:",
        f"    metric: recall@{10 if few else 100}"
        + ("  # the corpus is small" if few else "  # candidates for a later ranking"),
        "    patience: 3",
    ]
    if few:
        lines += ["evaluate:", "  ks: [5, 10, 20]  # list lengths at which metrics are computed"]
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
        name: name of the data set; by default the name of the interactions' directory.

    Returns:
        The paths of the feature spec and of the run config.

    Raises:
        DataError: a table cannot be read, ids do not match, or no column allows a split.
        ConfigError: one of the files exists already.
    """
    draft = spec_draft.draft_spec(interactions, candidates, queries)
    name = profiles.feature_name(name or interactions.resolve().parent.name)
    spec_path, run_path = out / f"{name}.yaml", out / f"{name}_run.yaml"
    for path in (spec_path, run_path):
        if path.exists():
            raise ConfigError(
                f"{path}: exists already and may hold your corrections. Remove it, or give "
                "another --name or --out."
            )
    out.mkdir(parents=True, exist_ok=True)
    spec_path.write_text(render_spec(draft, name), encoding="utf-8")
    run_path.write_text(render_config(draft, name, spec_path.name), encoding="utf-8")
    check_run(load_spec(spec_path), load_run_config(run_path))
    return spec_path, run_path
