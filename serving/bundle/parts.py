"""Checks that the parts of a version belong together: towers, index, ids, manifest."""

from pathlib import Path

import numpy as np

from serving.bundle import loading, refresh_files
from serving.graph import names
from tfrs_twotower.artifacts import Manifest
from tfrs_twotower.data.feedback import scores_with_feedback
from tfrs_twotower.data.postings import COSINE_MINIMUM, Lexical, Postings
from tfrs_twotower.errors import BundleError
from tfrs_twotower.ranking import FloatArray

_EMBEDDING_TOLERANCE = 1e-5
# Scores of int8 vectors differ from scores of the float32 vectors in `refresh/`.
_SCORE_TOLERANCE = 0.01
_ASKED_WORDS = 8
_TINY = 1e-30


def check_parts(model: loading.LoadedModel, manifest: Manifest, version: int) -> None:
    """Checks that the answers of a version fit the files beside its model.

    The model's answers must carry the version and identity of the manifest. In a version that can
    be refreshed, the candidate tower must return the stored vectors, and retrieval the scores that
    the query tower and the stored vectors give, so that an index of one version beside towers of
    another is detected.

    Args:
        model: loaded from the directory of the version, which may be published or not.
        manifest: the manifest of the version.
        version: number of the version, or the number that it will get.

    Raises:
        BundleError: two parts do not belong together.
    """
    loading.check_model_version(model, manifest)
    stated = str(manifest.details["model_version"])
    if not stated.startswith(f"{version}-"):
        raise _mixed_parts(
            model.directory, f"it is version {version}, but its manifest states {stated}"
        )
    files = refresh_files.RefreshFiles(model.directory)
    if files.exist():
        _check_towers(model, files)
        _check_index(model, files)


def _check_towers(model: loading.LoadedModel, files: refresh_files.RefreshFiles) -> None:
    probe, vectors = files.probe(), files.vectors()
    embedded = model.call(names.CANDIDATE_EMBEDDING, probe.raw)[names.EMBEDDING]
    if _difference(embedded, vectors[probe.rows]) > _EMBEDDING_TOLERANCE:
        raise _mixed_parts(
            model.directory, "the candidate tower gives other vectors than the corpus has"
        )
    if _difference(_blank_query(model), files.blank_query()) > _EMBEDDING_TOLERANCE:
        raise _mixed_parts(model.directory, "the query tower is not that of the candidate tower")


def _check_index(model: loading.LoadedModel, files: refresh_files.RefreshFiles) -> None:
    corpus = files.corpus()
    asked, embedded = model.blank(names.CANDIDATE_GENERATION), model.blank(names.QUERY_EMBEDDING)
    lexical = files.lexical(len(corpus))
    words = [] if lexical is None else _some_words(lexical.postings)
    if lexical is not None:
        text = {lexical.inputs[0]: np.array([" ".join(words).encode()], object)}
        asked, embedded = asked | text, embedded | text
    answer = model.call(names.CANDIDATE_GENERATION, asked)
    ids = [id_ for id_ in answer[names.CANDIDATE_IDS][0].tolist() if id_]
    rows = corpus.row_of(ids)
    if (rows < 0).any():
        raise _mixed_parts(model.directory, "the index holds candidates that are not in the corpus")
    expected = corpus.vectors @ model.call(names.QUERY_EMBEDDING, embedded)[names.EMBEDDING][0]
    if lexical is not None:
        expected = _with_words(lexical, words, expected)
    if _difference(answer[names.SCORES][0, : len(ids)], expected[rows]) > _SCORE_TOLERANCE:
        what = "vectors" if lexical is None else "vectors or postings"
        raise _mixed_parts(
            model.directory, f"the index was built from other {what} than the corpus has"
        )


def _some_words(postings: Postings) -> list[str]:
    """Words of some terms, spread over all."""
    places = np.unique(np.linspace(0, len(postings.words) - 1, _ASKED_WORDS).astype(int))
    return [postings.words[place] for place in places if place >= 0]


def _with_words(lexical: Lexical, words: list[str], cosines: FloatArray) -> FloatArray:
    """Scores `[num_candidates]` of one query by words, or by words and cosines."""
    of_words = scores_with_feedback(lexical, lexical.postings.terms_of(words))
    weight = lexical.dense_weight
    if weight is None:
        return of_words
    near = cosines - COSINE_MINIMUM
    shares: FloatArray = weight * near / near.max()
    return shares + (1.0 - weight) * of_words / max(float(of_words.max()), _TINY)


def _blank_query(model: loading.LoadedModel) -> FloatArray:
    answer = model.call(names.QUERY_EMBEDDING, model.blank(names.QUERY_EMBEDDING))
    embedding: FloatArray = answer[names.EMBEDDING][0]
    return embedding


def _difference(answered: FloatArray, expected: FloatArray) -> float:
    """The largest absolute difference; infinite if the shapes differ or a number is NaN."""
    if answered.shape != expected.shape:
        return np.inf
    worst = float(np.abs(answered - expected).max(initial=0.0))
    return np.inf if np.isnan(worst) else worst


def _mixed_parts(directory: Path, evidence: str) -> BundleError:
    return BundleError(
        f"{directory}: its parts do not belong together: {evidence}. Towers, index and corpus of a "
        "version must come from one export or refresh. Export again."
    )
