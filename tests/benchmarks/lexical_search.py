"""BM25 as it is served, over a million planted passages, beside bm25s in the same process.

    python -m tests.benchmarks.lexical_search --passages 1000000 --json build/lexical.json

Passages have 60 words by Zipf's law; the most frequent ranks are stop words, which no posting has.
A question has 8 words that are drawn as those of the passages are, stop words left out. The graph
is that of a bundle (text in, rows and scores out), run by TensorFlow's C++ session on the caller's
thread alone. bm25s scores the same postings and takes the best by its own top k; it gets terms, not
text, and runs in NumPy where numba is not installed. Times are wall clock and, in brackets,
processor time of that thread, which other load on the machine disturbs less.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import tensorflow as tf
from bm25s.selection import topk

from tests.benchmarks.million_candidates.served import Session, Threads
from tfrs_twotower.data.postings import Lexical, Postings, posted
from tfrs_twotower.index.lexical import LexicalSearch, asked

WORDS, STOP_WORDS, LENGTH, QUESTION = 200_000, 33, 60, 8
EXPONENT, K, FASTEST_MS = 1.07, 100, 2.5


def passages(count: int, seed: int = 0) -> Postings:
    """The postings of planted passages; term t is the word of rank t behind the stop words."""
    random = np.random.default_rng(seed)
    words = random.choice(WORDS, size=count * LENGTH, p=_law())
    rows = np.repeat(np.arange(count), LENGTH)
    kept = words >= STOP_WORDS
    pairs, counts = np.unique(
        (words[kept] - STOP_WORDS).astype(np.int64) * count + rows[kept], return_counts=True
    )
    names = [f"w{number:06d}" for number in range(WORDS - STOP_WORDS)]
    places = np.arange(len(names), dtype=np.int32)
    listed = posted(pairs // count, pairs % count, counts, len(names))
    return Postings(names, names, places, **listed, num_candidates=count)


def questions(count: int, seed: int = 1) -> list[list[int]]:
    """Terms of planted questions."""
    law = _law()[STOP_WORDS:]
    random = np.random.default_rng(seed)
    return random.choice(len(law), (count, QUESTION), p=law / law.sum()).tolist()


def _law() -> Any:
    law = 1.0 / np.arange(1, WORDS + 1) ** EXPONENT
    return law / law.sum()


def save(postings: Postings, directory: Path) -> None:
    """Writes the SavedModel of a search of words."""
    words_file = directory.parent / "words.txt"
    words_file.write_text("".join(f"{word}\n" for word in postings.words), encoding="utf-8")
    module = LexicalSearch(Lexical(postings, ("text",)), words_file)

    def search(text: tf.Tensor) -> dict[str, tf.Tensor]:
        query = asked(module, tf.zeros([tf.shape(text)[0], 1]), {"text": text})
        scores, rows = module.search(query, K)
        return {"rows": rows, "scores": scores}

    given = tf.TensorSpec([None], tf.string, name="text")
    function = tf.function(search, autograph=False).get_concrete_function(given)
    tf.saved_model.save(module, str(directory), signatures={"search": function})


def stranger(postings: Postings) -> Callable[[list[int]], Any]:
    """bm25s over the same impacts, which it computes by the same formula."""
    model = bm25s.BM25(method="lucene", k1=postings.k1, b=postings.b)
    model.nonoccurrence_array = None
    model.scores = {
        "data": postings.impacts,
        "indices": postings.rows,
        "indptr": postings.starts,
        "num_docs": postings.num_candidates,
    }

    def ask(terms: list[int]) -> Any:
        scores = model.get_scores_from_ids(terms)
        return topk(scores, k=K, sorted=True, backend="numpy")

    return ask


def timed(ask: Callable[[Any], Any], given: Sequence[Any]) -> dict[str, float]:
    """Milliseconds of one question, without the first twenty."""
    wall, processor = [], []
    for one in given:
        started, worked = time.perf_counter(), time.thread_time()
        ask(one)
        wall.append(1e3 * (time.perf_counter() - started))
        processor.append(1e3 * (time.thread_time() - worked))
    return {
        "p50_ms": float(np.median(wall[20:])),
        "p95_ms": float(np.quantile(wall[20:], 0.95)),
        "processor_p50_ms": float(np.median(processor[20:])),
        "processor_p95_ms": float(np.quantile(processor[20:], 0.95)),
    }


def measure(num_passages: int, num_questions: int) -> dict[str, Any]:
    """Builds, saves, loads, compares and times."""
    postings, asked_terms = passages(num_passages), questions(num_questions + 20)
    texts = [" ".join(postings.words[term] for term in terms) for terms in asked_terms]
    theirs = stranger(postings)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "model"
        directory.mkdir()
        save(postings, directory)
        before = _resident_bytes()
        session = Session(directory, Threads(-1, 1))
        function = session.function("search", ["text"], ["rows", "scores"])

        def ours(text: str) -> Any:
            return function(np.array([text.encode()], object))

        for text, terms in zip(texts[:5], asked_terms[:5], strict=True):
            np.testing.assert_allclose(ours(text)[1][0], theirs(terms)[0], rtol=1e-5)
        loaded = _resident_bytes() - before
        found = {"graph": timed(ours, texts), "bm25s": timed(theirs, asked_terms)}
    return {
        "passages": num_passages,
        "questions": num_questions,
        "postings": len(postings.rows),
        "postings_of_a_question": float(
            np.median([postings.frequencies[terms].sum() for terms in asked_terms])
        ),
        "stored_bytes": postings.rows.nbytes + postings.impacts.nbytes,
        "loaded_bytes": loaded,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "load_average": os.getloadavg()[0],
        **found,
    }


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints what it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    found = measure(options.passages, options.questions)
    lines = []
    for name in ("graph", "bm25s"):
        times = found[name]
        lines.append(
            f"{name}: p50 {times['p50_ms']:.2f} ms ({times['processor_p50_ms']:.2f}), p95 "
            f"{times['p95_ms']:.2f} ms ({times['processor_p95_ms']:.2f})"
        )
    lines.append(
        f"{found['passages']:,} passages, {found['postings']:,} postings, "
        f"{found['postings_of_a_question']:,.0f} of a question; postings "
        f"{found['stored_bytes'] / 2**20:,.0f} MiB, model {found['loaded_bytes'] / 2**20:,.0f} MiB "
        f"in memory; load {found['load_average']:.1f}; wanted: p50 at most {FASTEST_MS} ms"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
