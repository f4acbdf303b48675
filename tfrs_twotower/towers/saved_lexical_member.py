"""The lexical member of a pre-ranker on disk.

bm25/
    architecture.json    feature spec, number of latest candidates of a history
    postings.npz         `tfrs_twotower.data.postings`
    text_rows.npy        [num_candidates] int64 rows of the candidates' texts; only in a shard,
                         which has the postings of the whole corpus
    history_terms.npy    [2 + vocabulary size, n] int32 terms by token of the history, -1 for none;
                         only where the query side has no text, as is what follows
    vocabularies/  statistics.json
"""

import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.artifacts import layout
from tfrs_twotower.data.assets import Assets, load_assets
from tfrs_twotower.data.postings import NO_TERM
from tfrs_twotower.data.stored_arrays import load_array
from tfrs_twotower.data.stored_postings import POSTINGS_NAME, load_postings, save_postings
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers import linear_member
from tfrs_twotower.towers.lexical_member import HistoryTerms, LexicalMember


def save_lexical_member(member: LexicalMember, assets: Assets, directory: Path) -> None:
    """Writes everything that `load_lexical_member` needs into an existing directory."""
    if member.history is None:
        linear_member.save_architecture({"history_length": None}, member.spec, directory)
    else:
        facts = {"history_length": member.history.length}
        linear_member.save_history_side(facts, member.spec, assets, directory)
    _save_candidates(member, directory)


def _save_candidates(member: LexicalMember, directory: Path) -> None:
    save_postings(member.postings, directory)
    if member.text_rows is not None:
        np.save(directory / layout.TEXT_ROWS, member.text_rows, allow_pickle=False)
    if member.history is not None:
        np.save(directory / layout.HISTORY_TERMS, member.history.terms, allow_pickle=False)


def load_lexical_member(directory: Path) -> LexicalMember:
    """Rebuilds a saved member.

    Raises:
        MissingArtifact: a file is not there.
        CorruptArtifact: a file cannot be read, or the parts do not fit.
    """
    path = directory / layout.ARCHITECTURE
    with linear_member.told_what_to_train(path):
        architecture = json.loads(path.read_text(encoding="utf-8"))
        spec = FeatureSpec.model_validate(architecture["spec"])
        length = architecture["history_length"]
        postings = load_postings(directory, "Train the pre-ranker again.")
        text_rows, history = None, None
        if (directory / layout.TEXT_ROWS).exists():
            text_rows = load_array(directory / layout.TEXT_ROWS)
            if len(np.setdiff1d(text_rows, np.arange(postings.num_candidates))):
                raise ValueError(
                    f"{layout.TEXT_ROWS} names texts that {POSTINGS_NAME} does not have"
                )
        if length is not None:
            assets = load_assets(directory)
            terms = _history_terms(
                directory / layout.HISTORY_TERMS, spec, assets, len(postings.terms)
            )
            history = HistoryTerms(linear_member.history_inputs(spec, assets), terms, int(length))
    return LexicalMember(spec, postings, history, text_rows=text_rows)


def _history_terms(
    path: Path, spec: FeatureSpec, assets: Assets, num_terms: int
) -> NDArray[np.int32]:
    num_tokens = linear_member.num_tokens_of(spec, assets)
    terms = load_array(path)
    fits = terms.dtype == np.int32 and terms.ndim == 2 and len(terms) == num_tokens
    if not fits or not ((terms >= NO_TERM) & (terms < num_terms)).all():
        raise CorruptArtifact(
            f"{path}: is {terms.dtype} of shape {terms.shape}; expected int32 of {num_tokens} "
            f"tokens, with terms from {NO_TERM} up to {num_terms - 1}. Train the pre-ranker again."
        )
    return terms


def copy_lexical_member(member: LexicalMember, source: Path, destination: Path) -> None:
    """Writes a member whose candidates have changed, beside copies of what does not change.

    Args:
        member: the member.
        source: the directory that it was loaded from.
        destination: a directory that does not exist yet.
    """
    destination.mkdir()
    if member.history is None:
        shutil.copy2(source / layout.ARCHITECTURE, destination / layout.ARCHITECTURE)
    else:
        linear_member.copy_history_side(source, destination)
    _save_candidates(member, destination)
