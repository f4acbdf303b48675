"""What `init` sees in tables, as far as a choice of settings depends on it."""

from dataclasses import dataclass

from pipelines.init_spec.spec_draft import TOWERS_READ, SpecDraft

_FEW_CANDIDATES = 500
_MANY_CANDIDATES = 2000
_SEVERAL_EVENTS = 4
_MANY_QUESTIONS = 3000
_MOST_ARE_NEW = 0.9
ENOUGH_VALIDATION = 30
"""Validation queries from which the weights of a second stage can be fitted."""
ORDER_TELLS_MUCH = 1.4
"""See `event_patterns.recency`."""
_BUDGET_S = 900.0
"""CPU seconds from the tables to the bundle."""
_TRAINING_SHARE = 0.35
"""Of the budget for the first stage, and the same for all members of the second; the rest is for
preprocessing, mining, embedding and the bundle."""
_PASSES = 2.0
"""A training and its repetition with the validation window."""


@dataclass(frozen=True)
class Seen:
    """What `init` sees in the tables, as far as a choice depends on it."""

    num_candidates: int
    """Records of the candidates' table, at least."""
    num_examples: int
    """New positive pairs of queries and candidates in the training events."""
    num_queries: int
    """Queries that have one of these."""
    num_validation: int
    """Queries with a positive validation event."""
    examples_per_candidate: float
    """Training examples of a candidate that has one."""
    events_per_query: float
    """Median number of events of a query."""
    unknown_candidates: float
    """Share of the candidates to be found in the test that have no training event, 0 to 1."""
    has_history: bool
    has_long_histories: bool
    """Whether histories keep more events than towers read."""
    has_low_labels: bool
    """Whether there are events whose label is too low to be positive."""
    has_time: bool
    span_days: float
    """From the first event to the last; 0 without times."""
    drift: float | None
    """See `event_patterns.drift`."""
    recency: float | None
    """See `event_patterns.recency`."""
    has_content: bool
    """Whether candidates have features beside the id."""
    has_categories: bool
    """Whether candidates have categorical features."""
    has_texts: bool
    """Whether both sides have texts."""
    text_width: int
    """Tokens of the candidates' texts together; 0 without."""

    @classmethod
    def of(cls, draft: SpecDraft) -> "Seen":
        """Gathers it from a draft of the feature spec."""
        held_out = draft.split.held_out
        sides = (draft.query_features.features, draft.candidate_features.features)
        query, candidate = ({feature.kind for feature in features} for features in sides)
        widths = [f.options.get("max_tokens", 0) for f in sides[1] if f.kind == "text"]
        lengths = [f.options["max_length"] for f in sides[0] if f.kind == "history"]
        has_time = draft.roles.timestamp is not None
        return cls(
            num_candidates=draft.candidates.num_records,
            num_examples=held_out.num_examples,
            num_queries=held_out.num_queries,
            num_validation=held_out.num_validation,
            examples_per_candidate=held_out.questions_per_candidate,
            events_per_query=draft.split.events_per_query,
            unknown_candidates=held_out.unknown_candidates,
            has_history=bool(lengths),
            has_long_histories=max(lengths, default=0) > TOWERS_READ,
            has_low_labels=draft.roles.label is not None and draft.smallest_positive[0] is not None,
            has_time=has_time,
            span_days=draft.events.span_days if has_time else 0.0,
            drift=draft.split.drift,
            recency=draft.split.recency,
            has_content=bool(candidate - {"id"}),
            has_categories=bool(candidate & {"categorical", "multi_categorical"}),
            has_texts="text" in query and "text" in candidate,
            text_width=sum(widths),
        )

    @property
    def is_search(self) -> bool:
        """Whether a query is known by its words alone."""
        return self.has_texts and not self.has_history

    @property
    def is_sequence(self) -> bool:
        """Whether histories are long enough, and their order tells enough, for self-attention."""
        tells = self.recency is not None and self.recency >= ORDER_TELLS_MUCH
        many = self.num_candidates >= _MANY_CANDIDATES
        return self.has_history and tells and many and not self.is_short

    @property
    def is_short(self) -> bool:
        """Whether most histories have hardly any event."""
        return self.events_per_query < _SEVERAL_EVENTS

    @property
    def has_few_questions(self) -> bool:
        """Whether texts have too few questions for towers that start at random."""
        return self.is_search and self.num_queries < _MANY_QUESTIONS

    @property
    def is_unwatched(self) -> bool:
        """Whether validation would end the training of towers by chance.

        On a planted set with 26 validation queries it ended after 3 of 99 steps.
        """
        return self.num_validation < ENOUGH_VALIDATION and not self.is_search

    @property
    def is_small_corpus(self) -> bool:
        """Whether lists of a hundred would hold a good part of the corpus."""
        return self.num_candidates < _FEW_CANDIDATES

    @property
    def answers_return(self) -> bool:
        """Whether passages that answered one question often answer another."""
        return self.unknown_candidates < _MOST_ARE_NEW

    def epochs(self, most: int, cost: float = 1.0) -> int:
        """As many passes as the budget has time for, 2 to `most`.

        Args:
            most: passes that are more than enough.
            cost: of an example, in multiples of one of the first stage.
        """
        return max(2, min(most, int(self.affordable(self.num_examples, cost))))

    def affordable(self, num_examples: int, cost: float = 1.0) -> float:
        """Passes over so many examples that the budget has time for; see `epochs`."""
        of_example = 15e-6  # CPU seconds, as measured
        if self.has_history:
            of_event = 2e-6 if self.has_content else 1e-6
            of_example += of_event * min(self.events_per_query, TOWERS_READ)
        if self.is_sequence:
            of_example += 25e-6
        if self.is_search:
            of_example += 3e-6 * self.text_width
        budget = _BUDGET_S * _TRAINING_SHARE / _PASSES
        return budget / max(num_examples, 1) / of_example / cost
