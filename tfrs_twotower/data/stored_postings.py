"""A search of words on disk: `lexical.json` and `postings.npz`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.data.postings import Lexical, Postings, Statistics
from tfrs_twotower.data.stored_arrays import load_arrays
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact

LEXICAL_NAME, POSTINGS_NAME = "lexical.json", "postings.npz"


def save_lexical(lexical: Lexical, directory: Path) -> None:
    """Writes `lexical.json` and `postings.npz`."""
    described = {name: getattr(lexical, name) for name in ("inputs", "dense_weight", "feedback")}
    text = json.dumps(described, indent=2) + "\n"
    (directory / LEXICAL_NAME).write_text(text, encoding="utf-8")
    save_postings(lexical.postings, directory)


def save_postings(postings: Postings, directory: Path) -> None:
    """Writes `postings.npz`; the same postings give the same bytes."""
    arrays: dict[str, Any] = {
        name: np.frombuffer("\n".join(values).encode(), np.uint8)
        for name, values in (("terms", postings.terms), ("words", postings.words))
    }
    if postings.whole is not None:
        arrays["whole_frequencies"] = postings.whole.frequencies
        arrays["whole"] = np.array([postings.whole.num_candidates, postings.whole.total_length])
    np.savez(
        directory / POSTINGS_NAME,
        **arrays,
        term_of_word=postings.term_of_word,
        starts=postings.starts,
        rows=postings.rows,
        counts=postings.counts,
        settings=np.array([postings.num_candidates, postings.k1, postings.b], np.float64),
    )


def load_lexical(directory: Path, num_candidates: int, advice: str) -> Lexical | None:
    """Reads the search of words of a directory; None if it has none.

    Checksums are the caller's to verify.

    Args:
        directory: of an index, or `refresh/` of a version.
        num_candidates: size of the corpus.
        advice: what to do about a file that is missing or damaged, for messages.

    Raises:
        MissingArtifact: the postings are not there.
        CorruptArtifact: a file cannot be read, or the postings are of another corpus.
    """
    path = directory / LEXICAL_NAME
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        inputs, weight = tuple(map(str, described["inputs"])), described["dense_weight"]
        weight = None if weight is None else float(weight)
        feedback = float(described.get("feedback", 0.0))  # 0: before there was one
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. {advice}") from cause
    postings = load_postings(directory, advice)
    if postings.num_candidates != num_candidates:
        raise CorruptArtifact(
            f"{directory / POSTINGS_NAME}: has {postings.num_candidates} candidates, the corpus "
            f"{num_candidates}. {advice}"
        )
    return Lexical(postings, inputs, weight, feedback)


def load_postings(directory: Path, advice: str) -> Postings:
    """Reads `postings.npz`; see `load_lexical`.

    Raises:
        MissingArtifact: it is not there.
        CorruptArtifact: it cannot be read, or its arrays do not fit together.
    """
    path = directory / POSTINGS_NAME
    try:
        arrays = load_arrays(path)
        terms, words = (
            text.split("\n") if (text := arrays[name].tobytes().decode()) else []
            for name in ("terms", "words")
        )
        num_candidates, k1, b = arrays["settings"].tolist()
        whole = None
        if "whole" in arrays:  # of a shard
            size, length = arrays["whole"].tolist()
            whole = Statistics(int(size), length, arrays["whole_frequencies"])
        postings = Postings(
            terms,
            words,
            **{name: arrays[name] for name in ("term_of_word", "starts", "rows", "counts")},
            num_candidates=int(num_candidates),
            k1=k1,
            b=b,
            whole=whole,
        )
    except FileNotFoundError:
        raise MissingArtifact(f"{path}: is missing. {advice}") from None
    except (ValueError, KeyError, TypeError, OSError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. {advice}") from cause
    if not _fits(postings):
        raise CorruptArtifact(
            f"{path}: its {len(terms)} terms, {len(words)} words and {len(postings.rows)} postings "
            "do not fit together: a place lies outside of its list, or an order is broken. "
            f"{advice}"
        )
    return postings


def _fits(postings: Postings) -> bool:
    starts, rows, words = postings.starts, postings.rows, postings.words
    return bool(
        len(starts) == len(postings.terms) + 1
        and starts[0] == 0
        and starts[-1] == len(rows) == len(postings.counts)
        and (np.diff(starts) >= 0).all()
        and len(postings.term_of_word) == len(words) == len(set(words))
        and _all_below(postings.term_of_word, len(postings.terms))
        and _all_below(rows, postings.num_candidates)
        and (postings.counts > 0).all()
        and (postings.whole is None or postings.whole.include(postings.statistics_of_own))
    )


def _all_below(values: NDArray[np.integer], limit: int) -> bool:
    return not len(values) or (values.min() >= 0 and int(values.max()) < limit)
