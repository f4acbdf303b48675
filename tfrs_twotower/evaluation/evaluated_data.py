"""The data of an evaluation as NumPy arrays: corpus, interactions, queries, embeddings.

`loading_evaluated_data` reads them from artifacts; tests build them by hand.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.evaluation.protocol_document import Window
from tfrs_twotower.ranking import FloatArray

if TYPE_CHECKING:  # it loads TensorFlow
    from tfrs_twotower.index.quality import IndexQuality

_NOT_LOSSES = frozenset(
    {"member", "phase", "step", "epoch", "gradient_norm", "learning_rate", "examples_per_s"}
    | {"round", "staleness"}
)


@dataclass(frozen=True)
class InteractionLog:
    """Every valid interaction with a candidate of the corpus, any label.

    Attributes:
        query_ids: the distinct queries; a code is a position here.
        query: `[num_interactions]` codes.
        candidate: `[num_interactions]` rows of the corpus.
        timestamp: `[num_interactions]` seconds (0 where the data has no time).
        positive: `[num_interactions]` whether it counts as relevant.
        split: `[num_interactions]` 0 train, 1 validation, 2 test.
    """

    query_ids: Sequence[str]
    query: NDArray[np.int64]
    candidate: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    positive: NDArray[np.bool_]
    split: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.query)

    def codes_of(self, query_ids: Iterable[str]) -> NDArray[np.int64]:
        """`[len(query_ids)]` codes, -1 for a query without interactions."""
        code = self._codes.get
        return np.array([code(query_id, -1) for query_id in query_ids], np.int64)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {query_id: place for place, query_id in enumerate(self.query_ids)}


@dataclass(frozen=True)
class SplitFacts:
    """How the interactions were split.

    Attributes:
        kind: kind of the split.
        new_pairs_only: only pairs that the query had not before are relevant.
        known_queries_only: only queries with a training interaction are evaluated.
        known_candidates_only: only candidates with a training interaction are counted and ranked.
        sessions: whether the split keeps sessions whole.
        window: its limits; None where they are not known.
        has_time: whether interactions have times; without, they are in the order of the files.
        has_order: whether a column says the order, be it by times or by positions.
        empty_queries: queries of each split that were left out because nothing is relevant to
            them; None where they were not counted.
    """

    kind: Literal["temporal", "per_query_last", "given"]
    new_pairs_only: bool = True
    known_queries_only: bool = False
    known_candidates_only: bool = False
    sessions: bool = False
    window: Window | None = None
    has_time: bool = True
    has_order: bool = False
    empty_queries: dict[str, int] | None = None


@dataclass(frozen=True)
class TrainingFacts:
    """What training could see, for the leakage check.

    Attributes:
        query_texts: texts of the training queries; None where the spec has none.
        candidate_vocabulary: ids that the candidate table has rows for; None without one.
        query_vocabulary: ids that the query table has rows for; None without one.
        fresh_candidates, fresh_queries: ids that the validation window adds to these in a refit.
    """

    query_texts: Sequence[str] | None = None
    candidate_vocabulary: Sequence[str] | None = None
    query_vocabulary: Sequence[str] | None = None
    fresh_candidates: Sequence[str] = ()
    fresh_queries: Sequence[str] = ()


@dataclass(frozen=True)
class LogLine:
    """One line of a training log.

    Attributes:
        step: step of the optimizer; a refit counts from 0 again.
        losses: `loss`, the objective on training batches, and its terms.
        validation: metrics on validation queries; empty where the line measured none.
        phase: `fit`; `refit` on training and validation interactions; `warm_up` on spans of texts.
        member: member of the pre-ranker; 0 for retrieval.
    """

    step: float
    losses: dict[str, float]
    validation: dict[str, float] = field(default_factory=dict)
    phase: str = "fit"
    member: int = 0

    @classmethod
    def from_json(cls, line: Mapping[str, JsonValue]) -> "LogLine":
        """Takes a line as training writes it.

        Raises:
            KeyError: it has no step.
        """
        validation = line.get("validation")
        return cls(
            step=_numbers(line)["step"],
            losses=_numbers(line, leave_out=_NOT_LOSSES),
            validation=_numbers(validation) if isinstance(validation, dict) else {},
            phase=str(line.get("phase") or "fit"),
            member=int(_numbers(line).get("member", 0)),
        )


def _numbers(
    line: Mapping[str, JsonValue], leave_out: frozenset[str] = frozenset()
) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in line.items()
        if isinstance(value, int | float) and name not in leave_out
    }


class ReScorer(Protocol):
    """Scores the candidates that retrieval returned to some of the test queries once more."""

    def __call__(
        self, queries: NDArray[np.int64], rows: NDArray[np.int64], scores: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Final scores, `[chunk, n]`; values at places without a candidate are not read.

        Args:
            queries: `[chunk]` positions among the test queries.
            rows: `[chunk, n]` rows of the corpus, -1 for a missing candidate.
            scores: `[chunk, n]` scores of retrieval.
        """


@dataclass(frozen=True)
class SecondStage:
    """The pre-ranker of the cascade.

    Attributes:
        num_candidates: number of retrieved candidates that are scored again.
        re_score: gives their final scores.
        weights: weight of each feature in the final score, by the feature's name.
        training_log: log of the pre-ranker's members.
    """

    num_candidates: int
    re_score: ReScorer
    weights: dict[str, float] = field(default_factory=dict)
    training_log: list[LogLine] = field(default_factory=list)


@dataclass(frozen=True)
class EvaluationInputs:
    """Everything that one evaluation reads.

    Attributes:
        dataset: the feature spec's name.
        corpus: all candidates, with unit vectors, and texts if the spec has any.
        counts: `[num_candidates]` positive interactions of the training window.
        recent_counts: `[num_candidates]` those of its last days.
        log: all interactions.
        test: the queries that are reported, with unit embeddings, and texts if the spec has any.
        validation: the queries that baselines are tuned on; None without a validation split. Their
            embeddings are those of towers that have not learned them.
        eligible: `[num_candidates]` whether it may be ranked (`split.known_candidates_only`).
        all_test_queries: number of test queries that `test` was drawn from; None if it is all.
        split: how the interactions were split.
        training: what training could see.
        index_quality: `quality.json` of the index; None without an index.
        training_log: log of the model.
        timings: seconds of each stage that recorded them.
        second_stage: the pre-ranker; None where nothing ranks after retrieval.
        reference: a cross-encoder that ranks the same pool and is never served; None without one.
        first_fit_vectors: `[num_candidates, embedding_dim]` by the towers that embedded the
            validation queries, where these are not the final ones (`training.refit`).
        lexical: the index's search of words; None where only vectors are searched.
    """

    dataset: str
    corpus: Corpus
    counts: NDArray[np.int64]
    recent_counts: NDArray[np.int64]
    log: InteractionLog
    test: QuerySet
    validation: QuerySet | None
    eligible: NDArray[np.bool_]
    split: SplitFacts
    training: TrainingFacts = TrainingFacts()
    index_quality: "IndexQuality | None" = None
    training_log: list[LogLine] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    second_stage: SecondStage | None = None
    reference: SecondStage | None = None
    first_fit_vectors: FloatArray | None = None
    lexical: Lexical | None = None
    all_test_queries: int | None = None


def judged_on(inputs: EvaluationInputs) -> str:
    """Hash, 16 hex digits, of what systems are judged on: corpus, queries, truth, exclusions.

    Figures of two evaluations can be compared only if their hashes are equal. The hash does not
    cover features, so models that read different features can be compared.
    """
    query_ids = np.array(list(inputs.test.ids), np.str_)
    order = np.argsort(query_ids)
    truth, seen = inputs.test.truth.take(order), inputs.test.seen.take(order)
    digest = hashlib.sha256()
    for names in (inputs.corpus.ids.tolist(), query_ids[order].tolist()):
        for name in names:
            digest.update(name.encode() + b"\0")
        digest.update(b"\0")
    for array in (
        truth.relevant.lengths, truth.relevant.values, seen.lengths, seen.values, inputs.eligible
    ):  # fmt: skip
        digest.update(np.asarray(array, np.int64).tobytes())
    digest.update(np.asarray(truth.gains, np.float64).tobytes())
    return digest.hexdigest()[:16]


def sampling_in_words(inputs: EvaluationInputs) -> str:
    """What intervals make of a sample of the test queries; empty where all are evaluated."""
    if inputs.all_test_queries is None:
        return ""
    return (
        f"the queries are a random sample of {inputs.all_test_queries:,}, drawn without "
        "replacement, and the intervals are for the mean over all of these; "
    )


def reference_in_words(inputs: EvaluationInputs) -> str | None:
    """What the cross-encoder ranks; None without one."""
    if inputs.reference is None:
        return None
    return (
        f"the first {inputs.reference.num_candidates} of exact retrieval, ranked by a transformer "
        "that reads the texts of the query and the candidate together; never served"
    )
