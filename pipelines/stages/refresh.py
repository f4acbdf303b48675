"""Refreshes bundles from a table of candidates; a command, not a stage of a run."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.progress import Reporter
from pipelines.stages.export import describe
from pipelines.transforms import corpus, records, table_sources
from serving.bundle import refresh_files, versions
from serving.refresh.refresh import RefreshedBundle, RefreshRequest, refresh_bundles
from tfrs_twotower import specs
from tfrs_twotower.config import PreprocessConfig
from tfrs_twotower.config.stage_configs import FEW_BAD_RECORDS
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import parse_corpus
from tfrs_twotower.errors import DataError
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
) -> list[RefreshedBundle]:
    """Publishes a new version of a bundle, or of all its shards, with other candidates.

    Args:
        bundle: the bundle's directory; for shards, any of their directories or their common name.
        candidates: a table with the columns of the feature spec's candidates, in any of their
            formats.
        withdraw: a text file with a candidate id on each line.
        replace: whether `candidates` is the whole corpus.
        reporter: receives messages.

    Raises:
        DataError: a file cannot be read, or too many of its records are bad.
        TwoTowerError: see `serving.refresh.refresh.refresh_bundles`; nothing is published.
    """
    bundles = versions.find_shards(bundle)
    version_dir = versions.resolve_version(bundles[0])
    spec = load_spec_of(refresh_files.RefreshFiles.of(version_dir).towers_dir)[0]
    request = RefreshRequest(
        _no_candidates() if candidates is None else _read_candidates(candidates, spec, reporter),
        [] if withdraw is None else read_ids(str(withdraw)),
        replace,
    )
    reporter.message(
        f"refreshing {', '.join(path.name for path in bundles)} with "
        f"{len(request.candidates):,} given and {len(request.withdrawn):,} withdrawn candidates"
    )
    refreshed = refresh_bundles(bundles, request)
    num_withdrawn = sum(outcome.changes.num_withdrawn for outcome in refreshed)
    if not replace and num_withdrawn < len(request.withdrawn):
        num_unknown = len(request.withdrawn) - num_withdrawn
        reporter.message(
            f"{withdraw}: {num_unknown:,} of {len(request.withdrawn):,} ids are not in the corpus"
        )
    for outcome in refreshed:
        changes = outcome.changes
        reporter.message(
            f"{outcome.written.directory.parent.name}: {len(changes.ids):,} candidates, "
            f"{changes.num_added:,} added, {changes.num_changed:,} changed, "
            f"{changes.num_withdrawn:,} gone"
        )
        reporter.message(describe(outcome.written))
    return refreshed


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


def _no_candidates() -> Corpus:
    return Corpus(np.array([], object), np.array([], object))
