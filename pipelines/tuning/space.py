"""What `twotower tune` may change: one table of settings and one of starting points, with reasons.

A row of `SETTINGS` is a key of the run config, the values that are tried, and why. The value that
the run config has is always one of them. To let the search try another key, add a row; to let it
start from a combination that is known to be good, add a row to `PRIORS`. A row is left out where
the data or the config do not allow it (`applies`), and does nothing while another key has a value
that it does not go with (`only_with`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.tuning.rows import Facts, Part, Prior, Setting


def _is(value: Any) -> Callable[[Any], bool]:
    return lambda found: found == value


_SEQUENCE = ("model.history_encoder", _is("transformer"))
_EASE = ("pre_ranking.ease", lambda ease: ease is not None)
_MEMBERS = ("pre_ranking.models", bool)
_WORDS = {"words": 1500}
_MOST_EPOCHS = 3
"""A trial trains for at most so many times the epochs of the run config."""
_WINDOWS = [None, 180, 60, 20, 7, 3]
_READER = {"kind": "inttower", "cosine_heads": True, "num_query_heads": 1, "num_candidate_heads": 1}
_SMALL = {**_READER, "embedding_dim": 32, "head_dim": 32, "interaction_layers": "last"}
_TWO_LOOKS = tuple({**_SMALL, "history_half_life": events} for events in (4, 16))
_TEXT = {**_READER, "embedding_dim": 128, "head_dim": 128, "num_residual_layers": 0}
_TWO_READERS = ({**_TEXT, "candidate_views": 2, "bag_positions": True, "field_gate": "none"},) * 2

SETTINGS: Mapping[Part, tuple[Setting, ...]] = {
    "retrieval": (
        Setting("model.embedding_dim", (32, 64, 128, 256),
                "wider vectors hold more, and learn by heart sooner"),
        Setting("model.num_residual_layers", (0, 1, 2),
                "layers after the sum of the fields; few interactions rarely feed them"),
        Setting("model.history_encoder", ("mean", "transformer"),
                "whether the order of a history matters", lambda f: f.histories and f.trained),
        Setting("model.history_transformer.num_layers", (1, 2),
                "depth of the attention over a history", lambda f: f.histories, _SEQUENCE),
        Setting("model.history_half_life", (2, 4, 8, 16, 32, None),
                "how much sooner than older events recent ones count", lambda f: f.histories),
        Setting("model.history_content", ("none", "learned", "fixed"),
                "what a query had says more than its ids", lambda f: f.content),
        Setting("model.history_dropout", (0.0, 0.1, 0.2, 0.3, 0.4),
                "against learning whole histories by heart", lambda f: f.histories),
        Setting("model.id_dropout", (0.0, 0.05, 0.1, 0.2),
                "trains the row of ids that training has not seen", lambda f: f.looked_up),
        Setting("model.token_dropout", (0.0, 0.1, 0.2, 0.3),
                "against learning texts by heart", lambda f: f.texts),
        Setting("model.bag_positions", (False, True),
                "a passage often names its subject at its beginning", lambda f: f.bags),
        Setting("model.kind", ("plain", "dat"),
                "augmented vectors tell each tower of the other side", lambda f: f.plain),
        Setting("model.query_augmentation", ("auto", "history_mean"),
                "DAT: a learned vector, or the mean of what the query had",
                lambda f: f.plain and f.histories, ("model.kind", _is("dat"))),
        Setting("training.softmax.temperature", (0.03, 0.05, 0.07, 0.085, 0.1, 0.15, 0.2),
                "how sharply the best negatives are told apart"),
        Setting("training.softmax.logq", ("counted", "none"),
                "whether popular candidates, drawn more often as negatives, are corrected for"),
        Setting("training.softmax.logq_strength", (0.25, 0.5, 0.75, 1.0),
                "below 1 keeps a part of popularity out of the scores",
                only_with=("training.softmax.logq", lambda logq: logq != "none")),
        Setting("training.softmax.num_uniform_negatives", (0, 256, 1024),
                "negatives from the whole corpus, where the batch shows only what is popular"),
        Setting("training.optimizer.learning_rate", (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01),
                "the step of the optimiser"),
        Setting("training.optimizer.weight_decay", (0.0, 0.0001, 0.001, 0.01),
                "against learning by heart"),
        Setting("training.batch_size", (128, 256, 512, 1024, 2048),
                "more negatives in a step, and fewer steps"),
        Setting("training.epochs", (10, 20, 40, 80),
                "room for slow learners; early stopping ends the others",
                lambda f: bool(f.config.training.epochs)),
        Setting("model.token_table", ("random", "svd"),
                "tables of words that start from the corpus", lambda f: f.bags),
        Setting("model.query_map", ("none", "ridge"),
                "a first map of queries to candidates, for few queries",
                lambda f: f.bags and not f.histories),
        Setting("model.wide", (None, {"kind": "ease"}, {"kind": "ease", "rank": 128}),
                "a linear model and popularity beside the trained vectors",
                lambda f: f.ease and f.config.index.kind != "hybrid"),
        Setting("training.time_decay_half_life_days", (15, 30, 60, 120, 240, None),
                "demand moves: recent interactions say more", lambda f: f.times),
    ),
    "pre_ranking": (
        Setting("pre_ranking.num_candidates", (100, 200, 300, 500, 1000),
                "how many retrieved candidates are scored again"),
        Setting("pre_ranking.ease", (None, {}),
                "EASE as a member knows what is chosen together", lambda f: f.ease),
        Setting("pre_ranking.ease.l2", (50, 100, 200, 300, 500, 1000),
                "EASE's own regularisation", lambda f: f.ease, _EASE),
        Setting("pre_ranking.ease.half_lives", ([None], [None, 8], [4, 16], [None, 2, 8, 32]),
                "how far back EASE looks, one score for each", lambda f: f.ease, _EASE),
        Setting("pre_ranking.tastes", (None, {}),
                "values of candidates that a query chose more often than others do",
                lambda f: f.categories and not f.titles),
        Setting("pre_ranking.tastes", (None, _WORDS),
                "values and words of candidates that a query chose more often than others do",
                lambda f: f.titles),
        Setting("pre_ranking.item_knn", (None, {}, {"pairs": "next"}),
                "neighbours of the latest candidates", lambda f: f.ease),
        Setting("pre_ranking.bm25", (None, {}),
                "words that occur in both", lambda f: f.reads),
        Setting("pre_ranking.models", ([], list(_TWO_LOOKS)),
                "small trained members that look at a few and at many events",
                lambda f: f.histories),
        Setting("pre_ranking.models", ([], list(_TWO_READERS)),
                "trained members, each with two readings of a passage",
                lambda f: f.texts and not f.histories),
        Setting("pre_ranking.list_size", (1, 2, 4, 8),
                "retrieved negatives of an example in a step", only_with=_MEMBERS),
        Setting("pre_ranking.list_terms.list_softmax", (0.0, 0.5, 1.0),
                "whether members learn from retrieved negatives by themselves",
                only_with=_MEMBERS),
        Setting("pre_ranking.optimizer.learning_rate", (0.001, 0.002, 0.003),
                "the step of the members' optimiser", only_with=_MEMBERS),
        Setting("pre_ranking.popularity_days", ([], [None], [None, 30, 7], _WINDOWS),
                "what sold lately, which retrieval cannot know", lambda f: f.times),
    ),
}  # fmt: skip
"""Each key that may change, by the part of the search."""

PRIORS: Mapping[Part, tuple[Prior, ...]] = {
    "retrieval": (
        Prior({"model.history_half_life": 8}, "recent events first", lambda f: f.histories),
        Prior({"model.history_content": "learned"}, "histories with content", lambda f: f.content),
        Prior(
            {
                "model.history_encoder": "transformer",
                "training.softmax.temperature": 0.085,
                "training.softmax.num_uniform_negatives": 1024,
                "model.history_dropout": 0.3,
            },
            "attention over the order of a history, against uniform negatives",
            lambda f: f.histories,
        ),
        Prior(
            {"training.softmax.temperature": 0.05, "training.softmax.logq": "none"},
            "a passage answers one question: sharp, and without correction",
            lambda f: f.texts and not f.histories,
        ),
        Prior(
            {"model.embedding_dim": 256, "model.token_dropout": 0.1, "model.bag_positions": True},
            "wide bags of words", lambda f: f.bags and not f.histories,
        ),
        Prior({"model.wide": {"kind": "ease"}}, "what was chosen together, beside the vectors",
              lambda f: f.ease and f.config.index.kind != "hybrid"),
        Prior({"model.token_table": "svd"}, "words that start from the corpus", lambda f: f.bags),
        Prior({"model.num_residual_layers": 0}, "no layer after the sum"),
        Prior({"training.time_decay_half_life_days": 60}, "recent demand", lambda f: f.times),
        Prior({"model.history_half_life": 4}, "very recent events", lambda f: f.histories),
        Prior({"model.history_half_life": 16}, "a longer memory", lambda f: f.histories),
        Prior({"training.optimizer.learning_rate": 0.001}, "smaller steps"),
        Prior({"model.embedding_dim": 128}, "wider vectors"),
        Prior(
            {"model.kind": "dat", "model.query_augmentation": "history_mean"},
            "the mean of what the query had, as the other tower sees it",
            lambda f: f.plain and f.histories,
        ),
        Prior({"model.history_dropout": 0.2}, "hidden events", lambda f: f.histories),
    ),
    "pre_ranking": (
        Prior({"pre_ranking.ease": {}}, "EASE beside retrieval", lambda f: f.ease),
        Prior({"pre_ranking.bm25": {}}, "words that occur in both", lambda f: f.reads),
        Prior({"pre_ranking.tastes": {}}, "what a history prefers",
              lambda f: f.categories and not f.titles),
        Prior({"pre_ranking.tastes": _WORDS}, "values and words that a history prefers",
              lambda f: f.titles),
        Prior({"pre_ranking.item_knn": {}}, "neighbours beside EASE", lambda f: f.ease),
        Prior({"pre_ranking.ease.l2": 500}, "a smoother EASE", lambda f: f.ease),
        Prior({"pre_ranking.ease.half_lives": [4, 16]}, "recent events", lambda f: f.ease),
        Prior({"pre_ranking.num_candidates": 500}, "a deeper pool"),
        Prior(
            {
                "pre_ranking.models": list(_TWO_LOOKS),
                "pre_ranking.list_size": 1,
                "pre_ranking.list_terms.list_softmax": 0.0,
                "pre_ranking.optimizer.learning_rate": 0.002,
            },
            "two small trained members",
            lambda f: f.histories,
        ),
    ),
}  # fmt: skip
"""Where the search starts, the most promising first."""

FIRST_SECOND_STAGE: Mapping[str, Any] = {"num_candidates": 300, "models": [], "ease": {}}
"""The second stage that a run config without one is offered, where EASE can be a member."""


def settings_for(
    part: Part,
    facts: Facts,
    unchanged: Callable[[str], Any],
    with_defaults: Callable[[str, Any], Any],
    shortest_pool: int,
) -> tuple[Setting, ...]:
    """The rows that the data and the config allow, each with the config's own value among its own.

    Args:
        part: of the search.
        facts: what rows depend on.
        unchanged: gives the value of a key in the run config.
        with_defaults: gives what the run config would say at a key with another value: two that say
            the same are one value, however much of it is written.
        shortest_pool: smallest number of candidates that the second stage may score again.
    """
    rows = []
    for row in SETTINGS[part]:
        if not row.applies(facts):
            continue
        values = list(row.values)
        if row.key == "pre_ranking.num_candidates":
            values = [one for one in values if one >= shortest_pool]
        own = unchanged(row.key)
        if row.key == "pre_ranking.ease" and own is not None:
            values = [None]
        if row.key == "training.epochs":  # a trial may take some times as long, and no more
            values = [one for one in values if one <= _MOST_EPOCHS * own]
        values = [one for one in values if with_defaults(row.key, one) != own or one == own]
        rows.append(_with_own(replace(row, values=tuple(values)), own))
    return tuple(row for row in rows if len(row.values) > 1)


def _with_own(row: Setting, own: Any) -> Setting:
    values = list(row.values)
    if own is None and None not in values:  # a key of towers of another kind
        own = values[0]
    if own not in values:
        values.append(own)
    if replace(row, values=tuple(values)).ordered:
        values.sort(key=lambda one: (one is None, one or 0))
    return replace(row, values=tuple(values), initial=values.index(own))


def priors_for(part: Part, facts: Facts, rows: Sequence[Setting]) -> list[Prior]:
    """The starting points whose settings are all in these rows."""
    known = {row.key: row.values for row in rows}
    return [
        prior
        for prior in PRIORS[part]
        if prior.applies(facts)
        and all(key in known and value in known[key] for key, value in prior.changes.items())
    ]


def effective_changes(
    rows: Sequence[Setting], places: Mapping[str, int], unchanged: Callable[[str], Any]
) -> dict[str, Any]:
    """The keys that differ from the run config, without those that mean nothing beside the others.

    Args:
        rows: the table.
        places: position of the chosen value in each row, by key.
        unchanged: gives the value of a key in the run config.
    """
    chosen = {row.key: row.values[places[row.key]] for row in rows}
    changes = {}
    for row in rows:
        if places[row.key] == row.initial:
            continue
        if row.only_with is not None:
            other, fits = row.only_with
            if not fits(chosen[other] if other in chosen else unchanged(other)):
                continue
        changes[row.key] = chosen[row.key]
    return changes
