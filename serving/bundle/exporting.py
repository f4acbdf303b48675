"""`export_bundle`: publishes a version made from any two towers and their candidates' vectors."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from serving.bundle import loading, parity, publishing, tower_checks, writing
from serving.bundle.gate import MEASURES
from serving.bundle.history import MadeBy
from serving.bundle.measures import WORST_DECILE, measure_model, measure_retrieval
from serving.graph import names, signatures
from serving.graph.release import Release, ReleaseSettings
from tfrs_twotower.artifacts import Lineage, fingerprint
from tfrs_twotower.config import BundleConfig, ExportConfig, GateConfig, IndexConfig
from tfrs_twotower.data.corpus import Corpus, checked_vectors
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import BundleError, ConfigError
from tfrs_twotower.index import quality, storage
from tfrs_twotower.ranking import FloatArray
from tfrs_twotower.towers.protocol import TwoTowers

EXACT_INDEX = IndexConfig(kind="brute_force")
_COMPARED_QUERIES = 32


def export_bundle(
    towers: TwoTowers | None,
    candidates: Corpus | storage.Index,
    directory: Path | str,
    *,
    name: str,
    k: int = 100,
    index: IndexConfig = EXACT_INDEX,
    queries: ArrayLike | None = None,
    judged: QuerySet | None = None,
    max_excluded: int = 200,
    allowed_batch_sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    keep_versions: int = 3,
    gate: GateConfig | None = None,
) -> publishing.WrittenBundle:
    """Publishes the next version of a bundle, for TensorFlow Serving or `twotower serve`.

    A candidate's score is the inner product of its vector with that of the query tower; nothing is
    normalised. The version has the signatures `serving_default`, `candidate_generation`,
    `query_embedding`, `serving_examples`, and `candidate_embedding` if there is a candidate tower.
    Its candidates change by another export: `twotower refresh` needs towers of this package.

    Args:
        towers: see `TwoTowers`; None if requests bring the query's vector themselves, as the input
            `embedding`.
        candidates: `Corpus.of(ids, vectors, titles)`, or an index of this package, which holds its
            corpus.
        directory: directory of all bundles; the version goes to `directory/name/NUMBER`.
        name: of the bundle, and of the model at the server: lower-case letters, digits and `_`.
        k: length of every answer.
        index: settings of the index that is built from a `Corpus`; by default search is exact.
        queries: `[n, embedding_dim]` vectors of real queries: an approximate index is measured on
            them, and the release gate compares its overlap with exact search. By default those of
            `judged`.
        judged: queries with known answers (`QuerySet.of`); the release gate compares the recall.
        max_excluded: number of excluded candidates that an approximate index allows for without
            falling back to exact search.
        allowed_batch_sizes: sizes that the server fills batches up to.
        keep_versions: number of versions that stay on disk; older ones are removed.
        gate: how much worse than the served version this one may measure; by default as in
            `GateConfig`.

    Raises:
        ConfigError: a setting is out of range.
        DataError: a vector is not finite.
        BundleError: a bundle cannot have an input or the output of a tower, a candidate id cannot
            be served, or the release gate refused the version.
        IndexQualityError: the index misses its target overlap.
    """
    parse(BundleConfig, {"name": name}, "export_bundle", ConfigError)
    export_values = {
        "k": k,
        "max_excluded": max_excluded,
        "allowed_batch_sizes": list(allowed_batch_sizes),
        "keep_versions": keep_versions,
        "gate": gate or GateConfig(),
    }
    export = parse(ExportConfig, export_values, "export_bundle", ConfigError)
    corpus = candidates if isinstance(candidates, Corpus) else candidates.corpus
    checked_vectors(corpus.vectors, "export_bundle, candidates")
    embedding_dim = corpus.vectors.shape[1]
    if towers is None:
        towers = signatures.query_vectors(embedding_dim)
    else:
        tower_checks.check_towers(towers, embedding_dim)
    if queries is None:
        queries = _embed_queries(towers, judged, embedding_dim)
    else:
        queries = checked_vectors(queries, "export_bundle, queries", embedding_dim)
    if isinstance(candidates, Corpus):
        quality.check_vectors_only(index, "export_bundle")
        settings = ReleaseSettings(name=name, exact=False, export=export, index=index)
        candidates = _build_index(corpus, queries, settings)
    _check_texts(candidates, towers)
    settings = ReleaseSettings.of(name, export, index, candidates)
    release = Release(settings, towers, candidates, queries, lineage_of(towers, corpus, settings))
    return publish_release(Path(directory), release, judged)


def publish_release(
    directory: Path,
    release: Release,
    judged: QuerySet | None = None,
    command: str = "export_bundle",
) -> publishing.WrittenBundle:
    """Publishes a release of towers or vectors made elsewhere, after checking its answers.

    Args:
        directory: directory of all bundles.
        release: what the version is made from.
        judged: queries that the version is measured on.
        command: that makes the version, for the record of it.

    Raises:
        BundleError: see `export_bundle`.
    """

    def check(model: loading.LoadedModel) -> Mapping[str, Any]:
        parity.check_lists(model, _compared_queries(model, release, judged), release)
        measures = measure_retrieval(release) | measure_model(
            model, judged, release.corpus, release.index.lexical
        )
        return {MEASURES: measures.values, WORST_DECILE: measures.worst_decile}

    try:
        made_by = MadeBy(command=command)
        return writing.write_bundle(
            directory / release.settings.name, release, check, made_by=made_by
        )
    except AssertionError as cause:
        if "untracked" not in str(cause):
            raise
        raise BundleError(
            "export_bundle: a tower uses a variable or table that it does not track, so that it "
            "cannot be saved. Give the Keras model or tf.Module itself, or a tf.Module that has it "
            f"as an attribute, not a function around it. {str(cause).partition(' See ')[0]}"
        ) from cause


def _build_index(corpus: Corpus, queries: FloatArray, settings: ReleaseSettings) -> storage.Index:
    config = settings.index
    exact = (
        quality.resolve_kind(config, len(corpus)) == "brute_force" and config.vectors == "float32"
    )
    if not exact and not len(queries):
        raise BundleError(
            f"export_bundle: an index of kind {config.kind} with {config.vectors} vectors is "
            "measured on real queries, and there are none. Give `queries` or `judged`, or leave "
            "`index` out for exact search."
        )
    return settings.index_of(corpus, queries)


def _check_texts(index: storage.Index, towers: TwoTowers) -> None:
    wanted = set(index.lexical.inputs if index.lexical else ())
    if not wanted <= set(towers.query_inputs):
        raise BundleError(
            f"export_bundle: the index searches the words of {', '.join(sorted(wanted))}; the "
            f"query tower takes {', '.join(sorted(towers.query_inputs))}. Give towers that take "
            "these texts, or an index of vectors alone."
        )


def _embed_queries(towers: TwoTowers, judged: QuerySet | None, embedding_dim: int) -> FloatArray:
    """Vectors `[n, embedding_dim]` of the judged queries."""
    if judged is None:
        return np.zeros((0, embedding_dim), np.float32)
    inputs = towers.query_inputs
    if set(inputs) != set(judged.inputs):
        raise BundleError(
            "export_bundle: the judged queries have "
            f"{', '.join(sorted(judged.inputs)) or 'nothing'}; the query tower takes "
            f"{', '.join(sorted(inputs))}. Give all of these in `judged.inputs`."
        )
    raw = {name: tf.convert_to_tensor(judged.inputs[name], inputs[name].dtype) for name in inputs}
    return checked_vectors(towers.query_tower(raw).numpy(), "export_bundle, judged queries")


def _compared_queries(
    model: loading.LoadedModel, release: Release, judged: QuerySet | None
) -> dict[str, Any]:
    """Inputs of some queries: judged ones, or vectors if the towers take those, or a blank one."""
    if judged is not None:
        return {name: values[:_COMPARED_QUERIES] for name, values in judged.inputs.items()}
    query_inputs = model.inputs(names.QUERY_EMBEDDING)
    vectors = release.queries if len(release.queries) else release.corpus.vectors
    spec = tf.TensorSpec([None, vectors.shape[1]], tf.float32)
    if set(query_inputs) == {names.EMBEDDING} and spec.is_compatible_with(
        query_inputs[names.EMBEDDING]
    ):
        return {names.EMBEDDING: vectors[:_COMPARED_QUERIES]}
    return model.blank(names.QUERY_EMBEDDING)


def lineage_of(towers: TwoTowers, corpus: Corpus, settings: ReleaseSettings) -> Lineage:
    """Hashes of what is not an artifact: inputs, settings, corpus and the towers' weights."""
    inputs = [
        {name: [spec.dtype.name, spec.shape.as_list()] for name, spec in side.items()}
        for side in (towers.query_inputs, towers.candidate_inputs)
    ]
    weights = [
        variable.numpy()
        for tower in (towers.query_tower, towers.candidate_tower)
        for variable in getattr(tower, "variables", ())
    ]
    strings = [text.encode() + b"\0" for text in (*corpus.ids, *corpus.titles)]
    parents = {"corpus": _digest([*strings, corpus.vectors]), "towers": _digest(weights)}
    return Lineage(fingerprint(inputs), fingerprint(settings), parents)


def _digest(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]
