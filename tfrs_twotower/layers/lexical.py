"""BM25 in core TensorFlow operations: the analyser of queries, and the scores of a corpus."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from tfrs_twotower.data.postings import NO_TERM, SLOTS, Postings
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.ranking.order import LOWEST_SCORE, MISSING_ROW

_BLOCK = 64
"""Consecutive rows whose largest score is compared before the rows themselves."""
_NO_WORDS = r"[^\pL\pN_]+"


def places_in_list(keys: tf.Tensor, file: Path | None, missing: int) -> tf.lookup.StaticHashTable:
    """A table from keys to their places, int64.

    Args:
        keys: `[n]` strings or integers, distinct, at least one.
        file: a text file of the same keys, which are strings, one on each line. The exported graph
            carries it as an asset; without it the keys are constants of the graph, which a
            SavedModel limits to 2 GB.
        missing: place of a key that is not there.
    """
    if file is None:
        places = tf.range(tf.shape(keys, tf.int64)[0])
        initializer: Any = tf.lookup.KeyValueTensorInitializer(keys, places)
    else:
        initializer = tf.lookup.TextFileInitializer(
            str(file),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
            vocab_size=int(keys.shape[0]),
        )
    return tf.lookup.StaticHashTable(initializer, missing)


class Terms(tf.Module):
    """Maps texts to the terms of a corpus, as `closed_form.bm25` does outside of the graph."""

    def __init__(self, postings: Postings, words_file: Path | None = None) -> None:
        """Keeps the words in a lookup table.

        Args:
            postings: the words and their terms.
            words_file: a text file of `postings.words`; see `places_in_list`.
        """
        super().__init__(name="terms")
        self._term_of_word = tf.Variable(
            [*postings.term_of_word, NO_TERM], trainable=False, dtype=tf.int32, name="term_of_word"
        )
        # A table must not be empty; no text has the empty word.
        words, file = (postings.words, words_file) if postings.words else ([""], None)
        self._words = places_in_list(tf.constant(words), file, len(postings.words))

    def of_inputs(self, raw: RawBatch, inputs: Sequence[str]) -> tf.Tensor:
        """The terms of queries, from the raw inputs that together hold a query's text."""
        return self(tf.strings.join([raw[name] for name in inputs], " "))

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """The terms of each text, in its order and as often as it has them.

        Args:
            texts: `[batch]` UTF-8 strings.

        Returns:
            `[batch, n]` int32, n that of the text with most terms; -1 fills the places after the
            last term of a text.
        """
        # `lower` ends a text at NUL; it replaces bytes that are not UTF-8, so that no word has any.
        lower = tf.strings.lower(tf.strings.regex_replace(texts, r"\x00", " "), encoding="utf-8")
        words = tf.strings.split(tf.strings.regex_replace(lower, _NO_WORDS, " "))
        places = self._words.lookup(words.values)
        terms = words.with_values(tf.gather(self._term_of_word, places))
        return tf.ragged.boolean_mask(terms, terms != NO_TERM).to_tensor(NO_TERM)


class Permitted(NamedTuple):
    """Candidates that the queries of a batch may get."""

    restricts: tf.Tensor
    """bool scalar: some query may not get some candidate."""
    of_query: Callable[[tf.Tensor], tf.Tensor]
    """From a query's place in the batch to bool `[num_candidates]`."""


class Scored(NamedTuple):
    """What `LexicalScores` finds for a batch of queries."""

    scores: tf.Tensor
    """`[batch, k]` float32 of the best candidates, descending; the lowest float32 without one."""
    rows: tf.Tensor
    """`[batch, k]` int32; -1 without one."""
    listed: tf.Tensor
    """`[batch, m]` float32: scores of the candidates that were asked for; 0 for row -1."""
    best: tf.Tensor
    """`[batch]` float32: the best score in the whole corpus; 0 if no candidate has a term."""


class LexicalScores(tf.Module):
    """BM25 of every candidate from postings in variables.

    A term's postings are a slice of the variables; the slices of a query are joined and summed by
    row. Nothing may gather from these variables: TensorFlow would copy them at every later slice.
    The best are found among blocks of rows, because a top k over all rows takes far longer.
    """

    def __init__(self, postings: Postings) -> None:
        super().__init__(name="lexical_scores")
        self.num_candidates = postings.num_candidates
        # At least one row behind the last candidate: what is left out may point at it.
        self._num_blocks = postings.num_candidates // _BLOCK + 1

        def kept(values: Any, name: str) -> tf.Variable:
            return tf.Variable(values, trainable=False, name=name)

        # The place behind the last term has no postings: that of a slot without a term.
        self._starts = kept([*postings.starts.tolist(), len(postings.rows)], "starts")
        self._rows, self._impacts = kept(postings.rows, "rows"), kept(postings.impacts, "impacts")
        self._num_terms = len(postings.terms)

    def search(
        self,
        terms: tf.Tensor,
        k: int,
        excluded_rows: tf.Tensor | None = None,
        permits: Permitted | None = None,
        listed: tf.Tensor | None = None,
        weights: tf.Tensor | None = None,
    ) -> Scored:
        """The best k candidates of each query that share a term with it; ties are in row order.

        Args:
            terms: `[batch, n]` int32, as `Terms` gives them; any n.
            k: list length, at least 1.
            excluded_rows: `[batch, m]` int32 rows that are not returned; -1 is not a row.
            permits: which candidates may be returned; None lets every one pass.
            listed: `[batch, m]` int32 rows whose scores are wanted, too, whether they may be
                returned or not.
            weights: `[batch, n]` float32 of the terms; None weighs all alike.
        """
        batch_size = tf.shape(terms)[0]
        none = tf.zeros([batch_size, 0], tf.int32)
        given = (
            tf.range(batch_size),
            terms,
            tf.ones(tf.shape(terms)) if weights is None else weights,
            none if excluded_rows is None else excluded_rows,
            none if listed is None else listed,
        )
        alike = weights is None

        def one() -> Scored:
            only = tuple(values[0] for values in given)
            found = self._of_query(only, alike, k, permits)
            return Scored(*(values[tf.newaxis] for values in found))

        def several() -> Scored:
            return tf.map_fn(
                lambda query: self._of_query(query, alike, k, permits),
                given,
                fn_output_signature=Scored(
                    tf.TensorSpec([k], tf.float32),
                    tf.TensorSpec([k], tf.int32),
                    tf.TensorSpec([None], tf.float32),
                    tf.TensorSpec([], tf.float32),
                ),
            )

        # A loop costs a tenth of a search, and most requests have one query.
        return Scored(*tf.cond(tf.equal(batch_size, 1), one, several))

    def score(self, terms: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Scores float32 of listed candidates, `[batch, m]`, at rows int32 `[batch, m]`."""
        return self.search(terms, 1, listed=rows).listed

    def _of_query(
        self, query: tuple[tf.Tensor, ...], alike: bool, k: int, permits: Permitted | None
    ) -> Scored:
        place, terms, weights, excluded, listed = query
        scores = self._sums(terms, None if alike else weights)
        maxima = self._maxima(scores)
        best = tf.reduce_max(maxima)
        of_listed = tf.gather(scores, self._inside(listed))
        restricts = tf.reduce_any(excluded != MISSING_ROW)
        if permits is not None:
            restricts = tf.logical_or(restricts, permits.restricts)

        def left_out() -> tuple[tf.Tensor, tf.Tensor]:
            left = scores
            if permits is not None:
                passes = permits.of_query(place)
                passes = tf.pad(passes, [[0, self._num_rows - self.num_candidates]])
                left = tf.where(passes, left, 0.0)
            gone = self._inside(excluded)
            none = tf.zeros_like(gone, tf.float32)
            left = tf.tensor_scatter_nd_update(left, gone[:, None], none)
            return left, self._maxima(left)

        # Without anything to leave out, the scores are neither copied nor looked through again.
        left, maxima = tf.cond(restricts, left_out, lambda: (scores, maxima))
        return Scored(*self._best(left, maxima, k), of_listed, best)

    @property
    def _num_rows(self) -> int:
        return self._num_blocks * _BLOCK

    def _inside(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows, with the last one, which no candidate has, for -1."""
        return tf.where(rows == MISSING_ROW, self._num_rows - 1, rows)

    def _sums(self, terms: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """Scores `[num_rows]` of all candidates, 0 behind the last."""
        length = tf.reduce_sum(tf.cast(terms != NO_TERM, tf.int32))
        terms = tf.where(terms == NO_TERM, self._num_terms, terms)
        terms = tf.pad(terms, [[0, SLOTS]], constant_values=self._num_terms)
        if weights is not None:
            weights = tf.pad(weights, [[0, SLOTS]])

        def of_part(at: Any) -> tf.Tensor:
            part = slice(at, at + SLOTS)
            return self._sum(terms[part], None if weights is None else weights[part])

        return tf.while_loop(
            lambda done, _: done < length,
            lambda done, scores: (done + SLOTS, scores + of_part(done)),
            (tf.constant(SLOTS), of_part(0)),
        )[1]

    def _sum(self, terms: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """What some terms, at most `SLOTS`, add to each candidate's score."""
        missing = SLOTS - tf.shape(terms)[0]
        terms = tf.pad(terms, [[0, missing]], constant_values=self._num_terms)
        starts = tf.unstack(tf.gather(self._starts, terms), num=SLOTS)
        ends = tf.unstack(tf.gather(self._starts, terms + 1), num=SLOTS)

        def slices(values: tf.Tensor) -> list[tf.Tensor]:
            own = zip(starts, ends, strict=True)
            return [tf.slice(values, [at], [end - at]) for at, end in own]

        rows = tf.concat(slices(self._rows.read_value()), axis=0)
        impacts = slices(self._impacts.read_value())
        if weights is not None:
            weights = tf.unstack(tf.pad(weights, [[0, missing]]), num=SLOTS)
            impacts = [weight * own for weight, own in zip(weights, impacts, strict=True)]
        # A sparse matrix of one column times 1 adds what its entries have in one row, in their
        # order and in less time than `unsorted_segment_sum`, which counts the entries of every row
        # first. The bytes of an int64 row are those of the pair (row, 0), least significant first,
        # as on all processors that TensorFlow has builds for.
        entries = tf.bitcast(tf.cast(rows, tf.int64), tf.int32)
        sums = tf.raw_ops.SparseTensorDenseMatMul(
            a_indices=entries,
            a_values=tf.concat(impacts, axis=0),
            a_shape=tf.constant([self._num_rows, 1], tf.int64),
            b=tf.ones([1, 1]),
        )
        return tf.reshape(sums, [self._num_rows])

    def _maxima(self, scores: tf.Tensor) -> tf.Tensor:
        """The largest score of each block."""
        return tf.reduce_max(tf.reshape(scores, [self._num_blocks, _BLOCK]), axis=1)

    def _best(self, scores: tf.Tensor, maxima: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
        blocks = tf.reshape(scores, [self._num_blocks, _BLOCK])
        num_best = min(k, self._num_blocks)
        # Whoever is among the best k has a block among the k with the largest maxima; ascending
        # blocks keep equal scores in row order.
        chosen = tf.sort(tf.math.top_k(maxima, num_best).indices)
        inside = tf.reshape(tf.gather(blocks, chosen), [-1])
        kept = min(k, num_best * _BLOCK)
        best, places = tf.math.top_k(inside, kept)
        rows = tf.gather(chosen, places // _BLOCK) * _BLOCK + places % _BLOCK
        best = tf.pad(best, [[0, k - kept]])
        rows = tf.pad(rows, [[0, k - kept]])
        found = best > 0
        return tf.where(found, best, LOWEST_SCORE), tf.where(found, rows, MISSING_ROW)
