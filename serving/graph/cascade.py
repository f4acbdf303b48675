"""The cascade behind `serving_default`: candidate generation, then pre-ranking if there is one."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from serving.graph.pre_ranking import PreRanking
from serving.graph.release import Release
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.index import answers, lexical, restricts


class LookupFiles(NamedTuple):
    """Files of keys, one on each line, that the exported graph carries as assets."""

    ids: Path
    """Ids of the corpus; see `CandidateIds`."""
    words: Path | None = None
    """Words of the postings, if words are searched; see `layers.lexical.Terms`."""
    compared_words: Path | None = None
    """Those of the pre-ranker's postings, if it compares words."""

    @classmethod
    def written(cls, directory: Path, release: Release) -> "LookupFiles":
        """Writes the files of a release."""
        words = compared_words = None
        if release.index.lexical is not None:
            words = _written(directory / "words.txt", release.index.lexical.postings.words)
        if release.pre_ranker is not None and release.pre_ranker.lexical is not None:
            compared = release.pre_ranker.lexical.postings.words
            compared_words = _written(directory / "compared_words.txt", compared)
        ids = _written(directory / "candidate_ids.txt", release.corpus.ids)
        return cls(ids, words, compared_words)


def _written(path: Path, values: Iterable[str]) -> Path:
    path.write_bytes("".join(f"{value}\n" for value in values).encode())
    return path


class CandidateGeneration(tf.Module):
    """Query tower, searcher, candidate ids and attributes as one function of the graph."""

    def __init__(self, release: Release, files: LookupFiles | None = None) -> None:
        """Builds the steps from query features to candidates.

        Args:
            release: what the version is made from.
            files: the keys of the lookup tables.
        """
        super().__init__(name="candidate_generation")
        self.query_tower = release.towers.query_tower
        self.searcher = release.search(files.words if files else None)
        self.candidate_ids = answers.CandidateIds(release.corpus.ids, files.ids if files else None)
        self.k = release.k
        self.attributes: restricts.Attributes | None = None
        if release.attributes is not None:
            self.attributes = restricts.Attributes(release.attributes)

    def __call__(
        self,
        raw: RawBatch,
        exclude_ids: tf.Tensor,
        allow: tf.Tensor | None = None,
        deny: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Retrieves candidates.

        Args:
            raw: query features.
            exclude_ids: `[batch, n]` strings, in any column; "" and ids that no candidate has are
                ignored.
            allow: `[batch, n]` tokens `feature=value` in any column, if there are attributes; "" is
                none; see `tfrs_twotower.index.restricts`.
            deny: tokens in the same form.

        Returns:
            Scores float32 and candidate ids string, each `[batch, k]`, best first; a place without
            a candidate has "" and the lowest float32.
        """
        scores, rows = self.retrieve(raw, self.k, exclude_ids, allow, deny)
        return scores, self.candidate_ids.ids_of(rows)

    def retrieve(
        self,
        raw: RawBatch,
        depth: int,
        exclude_ids: tf.Tensor,
        allow: tf.Tensor | None = None,
        deny: tf.Tensor | None = None,
        *,
        ordered: bool = True,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Retrieves as `__call__` does, but returns rows instead of ids, and `depth` of them.

        `ordered` is passed on to `Search.search`.
        """
        permits = None
        if self.attributes is not None:
            permits = self.attributes.permits(allow, deny)
        excluded = self.candidate_ids.rows_of(exclude_ids)
        asked = lexical.asked(self.searcher, self.query_tower(raw), raw)
        scores, rows = self.searcher.search(asked, depth, excluded, permits, ordered=ordered)
        return scores, rows

    def score(self, raw: RawBatch, rows: tf.Tensor) -> tf.Tensor:
        """Retrieval scores `[batch, n]` of candidates at these rows; any number at rows below 0."""
        asked = lexical.asked(self.searcher, self.query_tower(raw), raw)
        scores: tf.Tensor = self.searcher.score(asked, tf.maximum(rows, 0))
        return scores


class Cascade(tf.Module):
    """Computes the final list of a query: retrieval, then pre-ranking if there is a pre-ranker."""

    def __init__(self, release: Release, files: LookupFiles | None = None) -> None:
        """Makes the steps; see `CandidateGeneration`."""
        super().__init__(name="cascade")
        self.candidate_generation = CandidateGeneration(release, files)
        self.pre_ranking: PreRanking | None = None
        if release.pre_ranker is not None:
            export = release.settings.export
            compared = release.pre_ranker.lexical
            if compared is not None:
                searched, search = release.index.lexical, self.candidate_generation.searcher
                compared = compared.served(
                    files.compared_words if files else None,
                    searched.postings if searched else None,
                    (search.terms, search.words) if searched else None,
                )
            self.pre_ranking = PreRanking(
                release.pre_ranker, export.candidate_heads, compared, fused=export.fused_ops
            )
        self._k = release.k

    def __call__(
        self,
        raw: RawBatch,
        exclude_ids: tf.Tensor,
        allow: tf.Tensor | None = None,
        deny: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and candidate ids, each `[batch, k]`; see `CandidateGeneration`.

        With a pre-ranker, retrieval returns as many candidates as the pre-ranker was fitted to
        re-score, and at least k. Equal final scores are ordered by row, as in the evaluation.
        """
        retrieval, pre_ranking = self.candidate_generation, self.pre_ranking
        if pre_ranking is None:
            return retrieval(raw, exclude_ids, allow, deny)
        depth = max(self._k, pre_ranking.num_candidates)
        depth = min(depth, retrieval.searcher.num_candidates)
        scores, rows = retrieval.retrieve(raw, depth, exclude_ids, allow, deny, ordered=False)
        scores, rows = pre_ranking.best(raw, rows, scores, self._k)
        return scores, retrieval.candidate_ids.ids_of(rows)

    def score(self, raw: RawBatch, candidate_ids: tf.Tensor) -> tf.Tensor:
        """The final scores that `__call__` gives these candidates; needs a pre-ranker.

        Args:
            raw: query features.
            candidate_ids: `[batch, n]` strings.

        Returns:
            `[batch, n]` float32, the lowest float32 where no candidate has the id.
        """
        assert self.pre_ranking is not None
        rows = self.candidate_generation.candidate_ids.rows_of(candidate_ids)
        return self.pre_ranking(raw, rows, self.candidate_generation.score(raw, rows))
