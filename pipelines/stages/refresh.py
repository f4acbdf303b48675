"""From a table of candidates to refreshed bundles; no stage of a run, which trains."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.progress import Reporter
from pipelines.stages.export import describe
from pipelines.transforms import corpus, records, table_sources
from serving.bundle import refresh_files, versions
from serving.refresh.refresh import RefreshedBundle, RefreshRequest, refresh_bundles
from tfrs_twotower.config import PreprocessConfig
from tfrs_twotower.config.stage_configs import FEW_BAD_RECORDS
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import parse_corpus
from tfrs_twotower.errors import DataError
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.storage import load_spec_of

_SHOWN = 3


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
        bundle: the bundle's directory; of shards, that of any of them or their common name.
        candidates: a table in any format that the feature spec's candidates may have, with its
            columns.
        withdraw: a text file with the id of a candidate on each line.
        replace: `candidates` is the whole corpus.
        reporter: is told what is done.

    Raises:
        DataError: a file cannot be read, or too many of its records are bad.
        TwoTowerError: see `serving.refresh.refresh.refresh_bundles`; nothing is published then.
    """
    bundles = versions.find_shards(bundle)
    version_dir = versions.resolve_version(bundles[0])
    spec = load_spec_of(refresh_files.RefreshFiles.of(version_dir).towers_dir)[0]
    request = RefreshRequest(
        _no_candidates() if candidates is None else _read(candidates, spec, reporter),
        [] if withdraw is None else _read_ids(withdraw),
        replace,
    )
    reporter.message(
        f"refreshing {', '.join(one.name for one in bundles)} with "
        f"{len(request.candidates):,} given and {len(request.withdrawn):,} withdrawn candidates"
    )
    refreshed = refresh_bundles(bundles, request)
    num_gone = sum(one.changes.num_withdrawn for one in refreshed)
    if not replace and num_gone < len(request.withdrawn):
        reporter.message(
            f"{withdraw}: {len(request.withdrawn) - num_gone:,} of {len(request.withdrawn):,} ids "
            "are not in the corpus"
        )
    for one in refreshed:
        changes = one.changes
        reporter.message(
            f"{one.written.directory.parent.name}: {len(changes.ids):,} candidates, "
            f"{changes.num_added:,} added, {changes.num_changed:,} changed, "
            f"{changes.num_withdrawn:,} gone"
        )
        reporter.message(describe(one.written))
    return refreshed


def _read(path: Path, spec: FeatureSpec, reporter: Reporter) -> Corpus:
    if not path.is_file():
        raise DataError(
            f"{path}: there is no such file. Expected a table with the columns of the feature "
            f"spec's candidates, as {spec.candidates.path} has them."
        )
    described = spec.candidates.model_copy(update={"path": str(path), "format": None})
    try:
        described.file_format  # noqa: B018  (raises where the suffix names none)
    except ValueError:
        described = described.model_copy(update={"format": spec.candidates.file_format})
    columns = records.entity_columns(spec.candidates, spec.candidate.features, "candidate")
    source = table_sources.find_source("candidates", described, columns, Path())
    table = corpus.read_candidate_table(source, spec)
    _check_bad(table.bad, len(table.examples), reporter)
    return parse_corpus(tf.data.Dataset.from_tensor_slices(table.examples), spec, path)


def _check_bad(bad: list[str], num_good: int, reporter: Reporter) -> None:
    """As in preprocessing, a few bad records are left out and told of."""
    if not bad:
        return
    share = len(bad) / (len(bad) + num_good)
    limit = PreprocessConfig().max_bad_fraction
    problem = (
        f"candidates: {len(bad):,} of {len(bad) + num_good:,} records are bad: "
        f"{'; '.join(bad[:_SHOWN])}{'; ...' if len(bad) > _SHOWN else ''}"
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


def _no_candidates() -> Corpus:
    return Corpus(np.array([], object), np.array([], object))
