"""A release: all that a bundle version is made from, and what of it lies in `refresh/`."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.bundle.loading import LoadedModel
from serving.bundle.publishing import StagedVersion
from serving.bundle.refresh_files import (
    PRE_RANKER,
    REFRESH,
    TOWERS,
    KeptCorpus,
    Probe,
    RefreshSettings,
    copy_towers,
    write_corpus,
    write_probe,
    write_queries,
    write_settings,
)
from serving.bundle.writing import BundleOptions, BundleSource, fill_version
from serving.graph import signatures as names
from tfrs_twotower.artifacts.layout import (
    ARCHITECTURE,
    CANDIDATE_HEADS,
    CANDIDATE_SIGNALS,
    CANDIDATE_VECTORS,
    EASE_MEMBER,
    HISTORY_VECTORS,
    MEMBER,
    STATISTICS,
    VOCABULARIES,
)
from tfrs_twotower.index.build import build_index
from tfrs_twotower.index.storage import Index
from tfrs_twotower.ranking.exact import FloatArray, exact_top_k, mean_overlap
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.linear_member import LinearMember
from tfrs_twotower.towers.pre_ranker import Member, PreRanker
from tfrs_twotower.towers.tower import Towers

_QUERIES_AT_ONCE = 64
RowArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Release:
    """What a version is made from."""

    settings: RefreshSettings
    spec: FeatureSpec
    towers: Towers
    towers_dir: Path
    """Where they were loaded from."""
    pre_ranker: PreRanker | None
    pre_ranker_dir: Path
    """Where it was loaded from, if there is one."""
    corpus: KeptCorpus
    index: Index
    """Of the corpus."""
    queries: FloatArray
    """Embeddings that the index is measured on."""
    probe_rows: RowArray
    probe_raw: dict[str, npt.NDArray[Any]]
    """Rows and raw features of some candidates."""
    parents: Mapping[str, str]
    config_fingerprint: str

    @property
    def source(self) -> BundleSource:
        """What goes into the SavedModel."""
        return BundleSource(
            self.spec,
            self.towers.query,
            self.towers.candidate,
            self.index,
            self.parents,
            self.config_fingerprint,
            self.pre_ranker,
            self.corpus.attributes,
        )

    def options(self, name: str) -> BundleOptions:
        """How the bundle of that name is written."""
        export = self.settings.export
        return BundleOptions(
            name=name,
            exact=self.settings.exact,
            k=export.k,
            max_excluded=export.max_excluded,
            allowed_batch_sizes=export.allowed_batch_sizes,
            keep_versions=export.keep_versions,
            candidate_heads=export.candidate_heads,
            gate=export.gate,
        )


def write_release(
    staged: StagedVersion,
    release: Release,
    check: Callable[[LoadedModel], Mapping[str, Any]],
) -> LoadedModel:
    """Writes a version, `refresh/` included; `serving.bundle.publishing` does the rest.

    Args:
        staged: where it is written.
        release: what it is made from.
        check: is given the saved model as a server will load it, raises to refuse it, and returns
            what the manifest's details say of it.

    Returns:
        The saved model as it was loaded.

    Raises:
        BundleError: see `serving.bundle.writing.fill_version`.
    """

    def complete(model: LoadedModel) -> Mapping[str, Any]:
        details = check(model)
        _write_refresh(model, release)
        return details

    return fill_version(staged, release.source, release.options(staged.bundle.name), complete)


def index_of(corpus: KeptCorpus, queries: FloatArray, settings: RefreshSettings) -> Index:
    """The index of a corpus, built and measured as the `index` section says.

    Args:
        corpus: the candidates.
        queries: embeddings that it is measured on.
        settings: its `index` section names the kind; an exact bundle needs none.

    Raises:
        IndexQualityError: it misses the target overlap.
    """
    config = settings.index
    if settings.exact:
        config = config.model_copy(update={"kind": "brute_force", "vectors": "float32"})
    built = build_index(corpus.vectors, queries, config)
    return Index(
        built.quality.kind,
        corpus.ids,
        corpus.titles,
        built.vectors,
        built.trained,
        built.parameters,
        built.int8,
    )


def shard_release(
    whole: Release,
    shard: int,
    rows: RowArray,
    probe_rows: RowArray,
    probe_raw: dict[str, npt.NDArray[Any]],
) -> Release:
    """The release of one shard, with an index of its own.

    Args:
        whole: of the whole corpus; `settings.export.shards` says how many there are.
        shard: its number.
        rows: of its candidates in the whole corpus, ascending.
        probe_rows: rows, in the shard, of the candidates that its towers are checked with.
        probe_raw: their raw features.

    Raises:
        IndexQualityError: the shard's index misses the target overlap.
    """
    settings = whole.settings.model_copy(update={"shard": shard})
    corpus = whole.corpus.take(rows)
    return replace(
        whole,
        settings=settings,
        pre_ranker=whole.pre_ranker and select_candidates(whole.pre_ranker, rows),
        corpus=corpus,
        index=index_of(corpus, whole.queries, settings),
        probe_rows=probe_rows,
        probe_raw=probe_raw,
    )


def measure_retrieval(release: Release) -> dict[str, float]:
    """What can be measured without raw queries: `overlap@k` and `retrieval_coverage@k`.

    As `serving.bundle.measures.measure_model` has them, on the kept query embeddings.
    """
    k = min(release.settings.export.k, len(release.corpus.ids))
    if not len(release.queries):
        return {}
    search = release.source.searcher(release.options(release.settings.name))
    found = [
        search.search(tf.constant(release.queries[start : start + _QUERIES_AT_ONCE]), k)[1].numpy()
        for start in range(0, len(release.queries), _QUERIES_AT_ONCE)
    ]
    rows = np.concatenate(found)
    exact = exact_top_k(release.queries, release.corpus.vectors, k)[1]
    answered = len(np.unique(rows[rows >= 0]))
    return {
        f"overlap@{k}": round(mean_overlap(rows, exact), 6),
        f"retrieval_coverage@{k}": round(answered / len(release.corpus.ids), 6),
    }


def select_candidates(pre_ranker: PreRanker, rows: RowArray) -> PreRanker:
    """The same pre-ranker over other candidates.

    Args:
        pre_ranker: of one corpus.
        rows: `[n]` rows of that corpus; -1 is a candidate of which nothing is known: its heads,
            signals and vectors are zeros.
    """
    linear = pre_ranker.linear
    if linear is not None:
        linear = LinearMember(
            linear.inputs,
            linear.half_lives,
            linear.history_vectors.numpy(),
            pick_rows(linear.candidate_vectors.numpy(), rows),
        )
    return PreRanker(
        tuple(
            Member(member.towers, tf.constant(pick_rows(member.candidate_heads.numpy(), rows)))
            for member in pre_ranker.members
        ),
        pre_ranker.combination,
        tf.constant(pick_rows(pre_ranker.candidate_signals.numpy(), rows)),
        linear,
    )


def pick_rows(values: FloatArray, rows: RowArray) -> FloatArray:
    """`values[rows]`, zeros where a row is -1."""
    there = (rows >= 0).reshape(-1, *[1] * (values.ndim - 1))
    return np.where(there, values[np.maximum(rows, 0)], np.float32(0.0))


def _write_refresh(model: LoadedModel, release: Release) -> None:
    directory = model.directory / REFRESH
    directory.mkdir()
    write_settings(directory, release.settings)
    write_corpus(directory, release.corpus)
    write_queries(directory, release.queries)
    blank = {name: tf.constant(value) for name, value in model.blank(names.QUERY_EMBEDDING).items()}
    blank_query = release.towers.query(blank).numpy()[0]
    write_probe(directory, Probe(release.probe_rows, release.probe_raw, blank_query))
    copy_towers(release.towers_dir, directory / TOWERS)
    if release.pre_ranker is not None:
        _write_pre_ranker(release.pre_ranker, release.pre_ranker_dir, directory / PRE_RANKER)


def _write_pre_ranker(pre_ranker: PreRanker, source: Path, destination: Path) -> None:
    """Copies what does not depend on the corpus, and writes what does."""
    destination.mkdir()
    pre_ranker.combination.save(destination)
    signals = pre_ranker.candidate_signals.numpy()
    np.save(destination / CANDIDATE_SIGNALS, signals, allow_pickle=False)
    for number, member in enumerate(pre_ranker.members):
        name = MEMBER.format(number=number)
        copy_towers(source / name, destination / name)
        heads = member.candidate_heads.numpy()
        np.save(destination / name / CANDIDATE_HEADS, heads, allow_pickle=False)
    if pre_ranker.linear is not None:
        ease = destination / EASE_MEMBER
        ease.mkdir()
        for name in (ARCHITECTURE, STATISTICS, HISTORY_VECTORS):
            shutil.copy2(source / EASE_MEMBER / name, ease / name)
        shutil.copytree(source / EASE_MEMBER / VOCABULARIES, ease / VOCABULARIES)
        vectors = pre_ranker.linear.candidate_vectors.numpy()
        np.save(ease / CANDIDATE_VECTORS, vectors, allow_pickle=False)
