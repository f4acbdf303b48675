"""Refreshes bundles from a table of candidates; a command, not a stage of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.progress import Reporter
from pipelines.stages import table_checks
from pipelines.stages.export import describe
from pipelines.transforms import corpus, records, table_sources, watched_cells
from serving.bundle import integrity, refresh_files, versions
from serving.graph.since_export import no_candidates
from serving.refresh.refresh import RefreshedBundle, refresh_bundles
from serving.refresh.refreshed_release import RefreshRequest
from tfrs_twotower import specs
from tfrs_twotower.config import GateConfig, PreprocessConfig
from tfrs_twotower.config.run_config import apply_override
from tfrs_twotower.config.stage_configs import FEW_BAD_RECORDS
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import parse_corpus
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import ConfigError, DataError
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.specs.tables import format_of_name
from tfrs_twotower.tables.files import find_local_files
from tfrs_twotower.tables.line_lists import read_ids
from tfrs_twotower.towers.storage import load_spec_of

_MAX_SHOWN = 3


def run(
    bundle: Path,
    candidates: Path | None,
    withdraw: Path | None,
    *,
    replace: bool,
    reporter: Reporter,
    overrides: Sequence[str] = (),
) -> list[RefreshedBundle]:
    """Publishes a new version of a bundle, or of all its shards, with other candidates.

    If nothing would change, nothing is published.

    Args:
        bundle: the bundle's directory; for shards, any of their directories or their common name.
        candidates: a table with the columns of the feature spec's candidates, in any of their
            formats.
        withdraw: a text file with a candidate id on each line.
        replace: whether `candidates` is the whole corpus.
        reporter: receives messages.
        overrides: of the limits of the release gate, for this refresh: `export.gate.KEY=VALUE`.

    Raises:
        ConfigError: an override is not of that form.
        DataError: a file cannot be read, or too many of its records are bad.
        TwoTowerError: see `serving.refresh.refresh.refresh_bundles`; nothing is published.
    """
    bundles = versions.find_shards(bundle)
    version_dir = versions.resolve_version(bundles[0])
    files = refresh_files.RefreshFiles.of(version_dir)
    integrity.verified_manifest(version_dir)
    spec = load_spec_of(files.towers_dir)[0]
    limits = _gate_of(files.settings().export.gate, overrides)
    request = RefreshRequest(
        no_candidates() if candidates is None else _read_candidates(candidates, spec, reporter),
        [] if withdraw is None else read_ids(str(withdraw)),
        replace,
    )
    reporter.message(
        f"refreshing {', '.join(path.name for path in bundles)} with "
        f"{len(request.candidates):,} given and {len(request.withdrawn):,} withdrawn candidates"
    )
    given = {"--candidates": candidates, "--withdraw": withdraw}
    words = [f"{option} {path}" for option, path in given.items() if path is not None]
    words += ["--replace"] if replace else []
    refreshed = refresh_bundles(bundles, request, gate_config=limits, arguments=" ".join(words))
    unknown = sorted(id_ for outcome in refreshed for id_ in outcome.changes.unknown)
    if unknown:
        shown = ", ".join(map(repr, unknown[:_MAX_SHOWN]))
        reporter.message(
            f"{withdraw}: {len(unknown):,} of {len(request.withdrawn):,} ids are not in the "
            f"corpus: {shown}{', ...' if len(unknown) > _MAX_SHOWN else ''}"
        )
    for outcome in refreshed:
        changes = outcome.changes
        reporter.message(
            f"{outcome.bundle.name}: {len(changes.ids):,} candidates, "
            f"{changes.num_added:,} added, {changes.num_changed:,} changed, "
            f"{changes.num_withdrawn:,} gone"
        )
    written = [outcome.written for outcome in refreshed if outcome.written is not None]
    for line in describe(written):
        reporter.message(line)
    if not written:
        reporter.message(
            f"nothing changed: no version was published, {refreshed[0].served} is served as before"
        )
    return refreshed


def _gate_of(limits: GateConfig, overrides: Sequence[str]) -> GateConfig:
    """The limits that the version was exported with, with `--set export.gate.KEY=VALUE` applied."""
    data: dict[str, Any] = {"export": {"gate": limits.model_dump(mode="json")}}
    for override in overrides:
        if not override.startswith("export.gate."):
            raise ConfigError(
                f"refresh: --set {override}: a refresh keeps the settings of the export, except "
                "for the limits of the release gate. Expected export.gate.KEY=VALUE, such as "
                "export.gate.max_shrink=0.5."
            )
        apply_override(data, override)
    return parse(GateConfig, data["export"]["gate"], "refresh, export.gate", ConfigError)


def _read_candidates(path: Path, spec: FeatureSpec, reporter: Reporter) -> Corpus:
    if not find_local_files(Path(), str(path)):
        raise DataError(
            f"{path}: there is no such file. Expected a table with the columns of the feature "
            f"spec's candidates, as {spec.candidates.path} has them."
        )
    given, features = spec.candidates, spec.candidate.features
    table_spec = given.model_copy(update={"path": str(path), "format": given.file_format})
    named = format_of_name(str(path))
    if named not in (None, given.file_format):  # what the spec says is about another format
        table_spec = specs.EntityTable(path=str(path), format=named, id=given.id)
    columns = records.entity_columns(given, features, "candidate")
    numbers = records.number_columns(given, features)
    source = table_sources.find_source("candidates", table_spec, columns, Path(), numbers)
    table = corpus.read_candidate_table(source, spec)
    for sentence in [*source.said(), *(f"candidates: {said}" for said in table.said)]:
        reporter.message(sentence)
    table_checks.refuse_misread_lists("candidates", table.forms)
    _check_bad(table, reporter)
    for question in table_checks.questions("candidates", table.forms):
        reporter.message(question)
    return parse_corpus(tf.data.Dataset.from_tensor_slices(table.examples), spec, path)


def _check_bad(table: corpus.CandidateTable, reporter: Reporter) -> None:
    """Reports a few bad records and cells, used as in preprocessing, and refuses more."""
    config = PreprocessConfig()
    total = len(table.bad) + len(table.examples)
    judged = [("records are bad", "they are left out", table.bad, total)]
    for column, bad_cells in table.bad_cells.items():
        present = table.forms.get((column, watched_cells.PRESENT), (total, []))[0]
        judged.append(("records are bad in one cell", "it counts as missing", bad_cells, present))
    for what, effect, bad, of in judged:
        if not bad:
            continue
        more = "; ..." if len(bad) > _MAX_SHOWN else ""
        problem = f"candidates: {len(bad):,} of {of:,} {what}: {'; '.join(bad[:_MAX_SHOWN])}{more}"
        if not config.tolerates(len(bad), of):
            raise DataError(
                f"{problem}. Allowed are {config.max_bad_fraction:.0%}, or {FEW_BAD_RECORDS} and "
                "at most a tenth. Correct the table."
            )
        reporter.message(f"{problem}; {effect}")
