"""Writes the first feature spec and run config as commented YAML, and checks them."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from pipelines.init_spec import column_names as names
from pipelines.init_spec import (
    feature_choices,
    identifiers,
    profiles,
    samples,
    spec_draft,
    split_choice,
)
from pipelines.init_spec.first_run import render_config, scalar, schema_line
from pipelines.init_spec.left_out_events import LeftOut
from pipelines.init_spec.times import TimeUnit
from tfrs_twotower.config import load_run_config
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.preflight.run import check_run
from tfrs_twotower.specs import load_spec

_SHARED_WORDS = "words"
_MOST_QUERIES = 0.9
_MANY_UNKNOWN = 0.1


def render_spec(draft: spec_draft.SpecDraft, name: str, directory: Path) -> str:
    """The text of the feature spec, with the reason beside each choice.

    Args:
        draft: what it says.
        name: of the data set.
        directory: where the spec will be; paths of tables start there.
    """
    lines = [
        *schema_line("feature_specs"),
        "# A first feature spec, written by `twotower init` from a sample of the tables. Read it,",
        "# and correct wrong guesses together with the people who own the data.",
        f"name: {name}",
        'description: ""  # what the data is, in a sentence',
        'licence: ""  # licence and attribution',
        "",
        *_interactions(draft, directory),
        *_entities(draft, directory),
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


def _interactions(draft: spec_draft.SpecDraft, directory: Path) -> Iterable[str]:
    roles, sample = draft.roles, draft.interactions
    size = f"{sample.num_records:,} records" if sample.complete else "more than the sample"
    yield f"interactions:  # {size}"
    yield from _files(sample, directory)
    yield from _missing(draft.event_profiles, draft.used_columns("interactions"))
    for key, match in (("query_id", draft.query_id), ("candidate_id", draft.candidate_id)):
        meaning = draft.event_profiles[match.column].meaning
        if meaning is not None and meaning.personal:
            yield f"  # Personal data: {meaning.name}. Ids stand in artifacts, bundles and logs:"
            yield "  # replace them by a pseudonym before the model is used."
        yield f"  {key}: {scalar(match.column)}{_shared(match.shared)}"
    if roles.timestamp:
        times = f"{{column: {scalar(roles.timestamp)}, unit: {draft.time_unit}}}"
        example = draft.event_profiles[roles.timestamp].present[0]
        said = f"such as {example}" if isinstance(example, str) else "by its values"
        yield f"  timestamp: {times}  # {said}"
    if roles.order:
        yield f"  timestamp: {{column: {scalar(roles.order)}, unit: order}}"
        yield "  # It numbers the events of each query and is no time: nothing is counted in days."
    for key in ("label", "weight", "session", "split"):
        column = getattr(roles, key)
        if column is not None:
            yield f"  {key}: {scalar(column)}  # {_REASONS.get(key, 'by its name and values')}"
    yield from _left_out(draft.left_out, draft.questioned)
    questioned = {one.column for one in draft.questioned}
    for column in roles.unused:
        if column not in questioned:
            yield f"  # {_unused(column, draft)}"


_REASONS = {"session": "each value is one query's, as a basket or order is"}


def _left_out(left_out: Iterable[LeftOut], questioned: Iterable[LeftOut]) -> Iterable[str]:
    sure = list(left_out)
    if sure:
        yield '  leave_out:  # records that are not read; "" is a missing value'
    for one in sure:
        yield f"    {scalar(one.column)}: {scalar(list(one.values))}  # {one.reason}"
    for one in questioned:
        yield f"  # {one.column} says what became of an event: {one.reason}."
        values = scalar(list(one.values)) if one.values else "[...]"
        entry = f"{scalar(one.column)}: {values}"
        yield f"  #   To leave out those that are not wanted{', say' if sure else ':'}"
        yield f"  #   {entry if sure else f'leave_out: {{{entry}}}'}" + (
            " under leave_out." if sure else ""
        )


def _unused(column: str, draft: spec_draft.SpecDraft) -> str:
    """What a comment says about a column of the interactions that has no role."""
    profile = draft.event_profiles[column]
    quantity = names.mentions(column, names.QUANTITY_WORDS) and profile.whole_numbers
    negative = sum(number < 0 for number in profile.numbers) if quantity else 0
    if negative:
        share = negative / len(profile.numbers)
        return (
            f"not used: {scalar(column)}, which is below 0 in {share:.1%}: returns? With `label: "
            f"{column}` and `relevance: {{min_label: 1, drop_others: true}}` they are left out."
        )
    if quantity and not draft.roles.weight:
        return f"weight: {scalar(column)}  # if larger values should weigh more in training"
    personal = profile.meaning is not None and profile.meaning.personal
    said = f"  # personal data: {profile.meaning.name}" if personal and profile.meaning else ""
    return f"not used: {scalar(column)}{said}"


def _files(sample: samples.Sample, directory: Path) -> Iterable[str]:
    """Where a table is and, where it is not what the suffix promises, how it is written."""
    path = os.path.relpath(sample.path.expanduser().absolute(), directory.absolute())
    yield f"  path: {scalar(path)}"
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


def _entities(draft: spec_draft.SpecDraft, directory: Path) -> Iterable[str]:
    if draft.queries is not None and draft.query_id.entity_column is not None:
        yield "queries:"
        yield from _files(draft.queries, directory)
        yield from _missing(draft.query_profiles, draft.used_columns("queries"))
        yield f"  id: {scalar(draft.query_id.entity_column)}"
        yield from _whole_numbers(draft.query_id)
        if draft.query_title:
            yield f"  title: {scalar(draft.query_title)}  # shown to people"
        if draft.query_split:
            yield f"  split: {scalar(draft.query_split)}"
    yield "candidates:"
    yield from _files(draft.candidates, directory)
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
    label = draft.roles.label
    threshold, reason = draft.smallest_positive
    yield f"# {label}: {reason}."
    if threshold is None:
        yield "# relevance: {min_label: ...}"
    else:
        share = draft.events.queries_with_positive
        if share < _MOST_QUERIES:
            yield (
                f"# Only {share:.0%} of the queries have an event with {threshold:g} or "
                "more: the others are not evaluated."
            )
        yield f"relevance: {{min_label: {threshold:g}}}"


def _split(draft: spec_draft.SpecDraft) -> Iterable[str]:
    split, held_out = draft.split, draft.split.held_out
    yield f"# {split.kind}: {split.reason}."
    earlier = f"{held_out.known:.0%}" if held_out.num_known_test else "none"
    yield (
        f"# That leaves {held_out.num_examples:,} new pairs to learn from, and "
        f"{held_out.num_validation:,} queries for validation; {held_out.num_test:,} for the test, "
        f"{earlier} of them with earlier events."
    )
    if 0 < held_out.num_test < split_choice.ENOUGH_TEST_QUERIES:
        yield (
            "# With so few test queries differences between systems are hard to tell from chance: "
            "look at the intervals of the report."
        )
    if held_out.unknown_candidates >= _MANY_UNKNOWN and held_out.num_known_test:
        yield (
            f"# {held_out.unknown_candidates:.0%} of what is to be found in the test was never "
            "chosen before: only features of the candidates can find it."
        )
    yield "split:"
    yield f"  kind: {split.kind}"
    said = f"  # {split.said}" if split.said else ""
    for key, value in split.values.items():
        yield f"  {key}: {scalar(value)}{said}"
        said = "  # those just before them" if said else ""
    repeats = 1.0 - float(draft.events.first_of_pair.mean())
    are = f", which {repeats:.0%} of the events are" if repeats >= 0.01 else ""
    yield f"  new_pairs_only: true  # false to predict repeats as well{are}"


def write_first_spec(
    interactions: Path,
    candidates: Path,
    queries: Path | None,
    out: Path,
    name: str | None,
    date_order: TimeUnit | None = None,
) -> tuple[Path, Path]:
    """Infers a feature spec and a run config from the first records of three tables.

    Args:
        interactions: table of events, CSV, TSV, JSONL or Parquet.
        candidates: table of candidates.
        queries: table of queries, if there is one.
        out: directory for `<name>.yaml` and `<name>_run.yaml`.
        name: name of the data set; by default the name of the interactions' directory.
        date_order: `dmy` or `mdy`, for dates that may be either.

    Returns:
        The paths of the feature spec and of the run config.

    Raises:
        DataError: a table cannot be read, ids do not match, no column allows a split, or the order
            of day and month does not show.
        ConfigError: one of the files exists already.
    """
    draft = spec_draft.draft_spec(interactions, candidates, queries, date_order)
    name = names.feature_name(name or interactions.resolve().parent.name)
    spec_path, run_path = out / f"{name}.yaml", out / f"{name}_run.yaml"
    for path in (spec_path, run_path):
        if path.exists():
            raise ConfigError(
                f"{path}: exists already and may hold your corrections. Remove it, or give "
                "another --name or --out."
            )
    out.mkdir(parents=True, exist_ok=True)
    spec_path.write_text(render_spec(draft, name, out), encoding="utf-8")
    run_path.write_text(render_config(draft, name, spec_path.name), encoding="utf-8")
    check_run(load_spec(spec_path), load_run_config(run_path))
    return spec_path, run_path
