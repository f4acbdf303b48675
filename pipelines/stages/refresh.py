"""Refreshes bundles from a table of candidates; a command, not a stage of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.progress import Reporter
from pipelines.stages.export import describe
from pipelines.transforms import corpus, records, table_sources
from serving.bundle import refresh_files, versions
from serving.graph.since_export import no_candidates
from serving.refresh.refresh import RefreshedBundle, refresh_bundles
from serving.refresh.refreshed_release import RefreshRequest
from tfrs_twotower.config import GateConfig, PreprocessConfig
from tfrs_twotower.config.run_config import apply_override
from tfrs_twotower.config.stage_configs import FEW_BAD_RECORDS
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import parse_corpus
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import ConfigError, DataError
from tfrs_twotower.specs import FeatureSpec
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
    spec = load_spec_of(files.towers_dir)[0]
    limits = _gate_of(files.settings().export.gate, overrides)
    request = RefreshRequest(
        no_candidates() if candidates is None else _read_candidates(candidates, spec, reporter),
        [] if withdraw is None else _read_ids(withdraw),
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
    if not path.is_file():
        raise DataError(
            f"{path}: there is no such file. Expected a table with the columns of the feature "
            f"spec's candidates, as {spec.candidates.path} has them."
        )
    table_spec = spec.candidates.model_copy(update={"path": str(path), "format": None})
    try:
        table_spec.file_format  # noqa: B018  (raises if the suffix names no format)
    except ValueError:
        table_spec = table_spec.model_copy(update={"format": spec.candidates.file_format})
    columns = records.entity_columns(spec.candidates, spec.candidate.features, "candidate")
    source = table_sources.find_source("candidates", table_spec, columns, Path())
    table = corpus.read_candidate_table(source, spec)
    _check_bad(table.bad, len(table.examples), reporter)
    return parse_corpus(tf.data.Dataset.from_tensor_slices(table.examples), spec, path)


def _check_bad(bad: list[str], num_good: int, reporter: Reporter) -> None:
    """Reports a few bad records, which are left out as in preprocessing, and refuses more."""
    if not bad:
        return
    share = len(bad) / (len(bad) + num_good)
    limit = PreprocessConfig().max_bad_fraction
    problem = (
        f"candidates: {len(bad):,} of {len(bad) + num_good:,} records are bad: "
        f"{'; '.join(bad[:_MAX_SHOWN])}{'; ...' if len(bad) > _MAX_SHOWN else ''}"
    )
    if not num_good or (share > limit and len(bad) > FEW_BAD_RECORDS):
        raise DataError(
            f"{problem}. Allowed are {limit:.0%} or {FEW_BAD_RECORDS} records. Correct the table."
        )
    reporter.message(f"{problem}; they are left out")


def _read_ids(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise DataError(
            f"{path}: cannot be read as UTF-8 text with a candidate id on each line: {cause}."
        ) from cause
    return sorted({line for line in lines if line})
