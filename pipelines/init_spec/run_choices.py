"""The table of choices: what `init` sees in tables, and the lines of the run config that it gives.

Each function yields the lines of one section with their reasons, which rest on configs that were
tuned by hand and on runs of `init` untouched. Another setting is another line here.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pipelines.init_spec import history_choices, text_choices
from pipelines.init_spec.seen import ENOUGH_VALIDATION, Seen


class Choice(NamedTuple):
    """One line of the run config: a key such as `training.batch_size`, its value, the reason."""

    key: str
    value: Any
    reason: str = ""


_UNWATCHED_STEPS = 100
_DRIFTS = 1.1
_COST_OF_MEMBER = 2.0  # a member's example has a list of negatives, too


def choose(seen: Seen) -> Iterator[Choice]:
    """All lines of the run config below its name and paths."""
    for section in (_model, _training, _second_stage, _index, _evaluation):
        yield from section(seen)


def _model(seen: Seen) -> Iterator[Choice]:
    if seen.is_search:
        yield Choice("model.embedding_dim", 256, "texts need wide vectors")
        yield Choice("model.num_residual_layers", 0, "a bag of words needs no layer behind it")
        yield Choice("model.token_dropout", 0.1, "a query should not depend on single words")
        if seen.has_few_questions:
            few = f"{seen.num_queries:,} questions are few: words start where the corpus puts them"
            yield Choice("model.token_table", "svd", few)
            why = "in closed form, from the questions to their passages"
            yield Choice("model.query_map", "ridge", why)
            return
        yield Choice("model.bag_positions", True, "a text often names its subject at its beginning")
        return
    yield Choice("model.embedding_dim", 64, "wider vectors cost time and rarely find more")
    if not seen.has_history:
        yield Choice("model.num_residual_layers", 0)
        return
    half_life, _, why = history_choices.half_lives(seen)
    if seen.is_sequence:
        yield Choice("model.num_residual_layers", 0)
        yield Choice("model.history_encoder", "transformer", "the order of a history says much")
        yield Choice("model.dropout", 0.2)
        yield Choice("model.history_dropout", 0.3)
    else:
        yield Choice("model.num_residual_layers", 1)
    for key, value, reason in history_choices.history(seen):
        if not (seen.is_sequence and key == "history_dropout"):
            yield Choice(f"model.{key}", value, reason)
    yield Choice("model.history_half_life", half_life, why)
    yield from _wide(seen)


def _wide(seen: Seen) -> Iterator[Choice]:
    """What stands beside the trained vectors; its weights are fitted on validation queries."""
    if seen.num_validation < ENOUGH_VALIDATION:
        return
    wide: dict[str, Any] = {"kind": "none"}
    reason = "popularity for queries without a history"
    if history_choices.has_linear_model(seen):
        wide = {**history_choices.linear_model(seen), "half_lives": history_choices.decays(seen)}
        reason = f"what was chosen together, and {reason}"
        if seen.has_low_labels:
            wide["events"] = "all"
            reason += "; a low label still says that the query chose the candidate"
    wide["popularity_days"] = history_choices.windows(seen)
    yield Choice("model.wide", wide, reason)


def _training(seen: Seen) -> Iterator[Choice]:
    size = 128 if seen.num_examples < 20_000 else 1024
    size = 512 if seen.is_search else size
    what = "passages" if seen.is_search else "events"
    yield Choice("training.batch_size", size, f"the other {what} of a batch are its negatives")
    epochs = seen.epochs(30)
    if seen.is_unwatched:
        few = "validation queries are too few to end training by, or to fit a second stage"
        yield Choice("training.early_stopping", None, f"{seen.num_validation:,} {few}")
        epochs = min(epochs, max(5, _UNWATCHED_STEPS * size // max(seen.num_examples, 1)))
    reason = "" if seen.is_unwatched else "at most: early stopping may end training before"
    yield Choice("training.epochs", epochs, reason)
    if epochs < 10:
        yield Choice("training.evaluate_every_epochs", 0.5, "an epoch is long")
    elif seen.is_sequence:
        yield Choice("training.evaluate_every_epochs", 2, "a pass over sequences is short")
    rate = 0.003 if seen.is_sequence or epochs < 10 else 0.002 if seen.is_search else 0.001
    yield Choice("training.optimizer", _optimizer(seen, rate, size))
    yield Choice("training.softmax", _sequence_softmax(seen), _softmax_reason(seen))
    if seen.drift is not None and seen.drift >= _DRIFTS:
        days = max(7, round(seen.span_days / 6))
        yield Choice(
            "training.time_decay_half_life_days",
            days,
            f"demand moves: what was popular in the last four weeks tells {seen.drift:.2f} times "
            "as much of the next events as what was popular before",
        )
    if seen.has_few_questions:
        reason = "spans of passages are questions, too"
        yield Choice("training.pseudo_questions", text_choices.pseudo_questions(seen), reason)
    if not seen.is_unwatched:
        yield _stopping(seen)
    if seen.num_validation and not seen.is_unwatched:
        yield Choice("training.refit", True, "at last the validation events are learned, too")


def _stopping(seen: Seen) -> Choice:
    """What decides on validation queries when training ends."""
    metric, why = "recall@100", "the second stage orders what is found"
    if seen.is_search or seen.is_sequence:
        metric, why = "ndcg@10", "the first places count"
    if seen.is_small_corpus:
        metric, why = "recall@10", "the corpus is small"
    return Choice("training.early_stopping", {"metric": metric, "patience": 3}, why)


def _optimizer(seen: Seen, rate: float, batch_size: int) -> dict[str, Any]:
    optimizer = {"kind": "adamw", "learning_rate": rate, "weight_decay": 0.0001}
    steps = seen.num_examples // batch_size
    if steps < 100:  # the default of 100 would be several epochs
        optimizer["warmup_steps"] = max(steps, 1)
    return {**optimizer, "decay": "cosine"} if seen.is_search else optimizer


def _softmax(seen: Seen) -> dict[str, Any]:
    if not seen.is_search:
        return {"temperature": 0.1, "logq": "counted"}
    logq = "none" if seen.examples_per_candidate < 1.5 else "counted"
    return {"temperature": 0.05, "logq": logq, "same_tower": "query"}


def _sequence_softmax(seen: Seen) -> dict[str, Any]:
    if not seen.is_sequence:
        return _softmax(seen)
    own = {"temperature": 0.085, "refined_logq": True, "num_uniform_negatives": 1024}
    return {**_softmax(seen), **own}


def _softmax_reason(seen: Seen) -> str:
    if seen.is_search and seen.examples_per_candidate < 1.5:
        return "nearly every passage answers one question, so none is drawn more often"
    return "popular candidates are drawn as negatives more often; that is taken out again"


def _second_stage(seen: Seen) -> Iterator[Choice]:
    if seen.num_validation < ENOUGH_VALIDATION:
        return
    room = "pre_ranking."
    yield Choice(f"{room}num_candidates", 100 if seen.is_search else 300, "are scored again")
    members = list(_members(seen))
    yield Choice(f"{room}models", members, _why_members(seen, members))
    if history_choices.has_linear_model(seen):
        ease = {**history_choices.linear_model(seen), "half_lives": history_choices.decays(seen)}
        yield Choice(f"{room}ease", ease, "what was chosen together, in closed form")
    if seen.is_sequence:
        followers = {"pairs": "next", "neighbours": 200, "half_lives": [1, 3]}
        yield Choice(f"{room}item_knn", followers, "what was chosen soon after a candidate")
    elif seen.has_history:
        reason = "neighbours of the latest candidates, by who chose them"
        yield Choice(f"{room}item_knn", {"neighbours": 100}, reason)
    if seen.is_search:
        yield Choice(f"{room}bm25", {"k1": 1.2}, "words that occur in both")
    tastes, reason = history_choices.tastes(seen)
    if tastes:
        yield Choice(f"{room}tastes", tastes, reason)
    yield _signals(seen)
    if not members:
        return
    yield Choice(f"{room}mining", {"depth": 20 if seen.is_search else 50})
    yield Choice(f"{room}list_size", 8 if seen.is_search else 1)
    yield Choice(f"{room}list_terms", {"list_softmax": 0}, "the members learn as retrieval does")
    size = 256 if seen.is_search else min(1024, 128 if seen.num_examples < 20_000 else 1024)
    yield Choice(f"{room}batch_size", size)
    most = 6 if seen.is_search else 12
    least = 1 if seen.is_search else 2
    epochs = max(
        least, min(most, int(seen.affordable(seen.num_examples, _COST_OF_MEMBER * len(members))))
    )
    yield Choice(f"{room}epochs", epochs, "at most, for each member")
    yield Choice(f"{room}optimizer", _optimizer(seen, 0.002, size))
    yield Choice(f"{room}softmax", _softmax(seen))
    yield Choice(
        f"{room}early_stopping", {"metric": "ndcg@10", "patience": 3}, "the first places count"
    )


def _why_members(seen: Seen, members: list[dict[str, Any]]) -> str:
    if seen.is_search and not members:
        return f"{seen.num_queries:,} questions are too few for further towers"
    if seen.is_search:
        return "two readings of each passage"
    if seen.is_small_corpus:
        return "closed forms know so few candidates as well as towers do"
    if seen.is_short:
        return "towers that look at a part of such short histories add nothing"
    if seen.is_sequence:
        return "what follows a candidate is counted; further towers cost more than they add"
    if not members:
        return "towers that see what retrieval sees, in no other order, add nothing"
    return "small towers that look at the last few events only"


def _members(seen: Seen) -> Iterable[dict[str, Any]]:
    """The trained towers of the second stage."""
    one_head = {"num_query_heads": 1, "num_candidate_heads": 1, "cosine_heads": True}
    if seen.is_search:
        return text_choices.members(seen, one_head, _COST_OF_MEMBER)
    if not seen.has_history or seen.is_short or seen.is_small_corpus or seen.is_sequence:
        return []
    member = {
        "kind": "inttower",
        "embedding_dim": 32,
        **{key: value for key, value, _ in history_choices.history(seen)},
        "interaction_layers": "last",
        "head_dim": 32,
        **one_head,
    }
    return [
        {**member, "history_half_life": half_life}
        for half_life in history_choices.half_lives(seen)[1]
    ]


def _signals(seen: Seen) -> Choice:
    if seen.is_search and seen.answers_return:
        reason = "a passage that answered many questions answers more of them"
        return Choice("pre_ranking.popularity_days", [None], reason)
    if seen.is_search:
        reason = "that a passage answered a question says nothing of the next one"
        return Choice("pre_ranking.popularity_days", [], reason)
    reason = "all time, and what many chose in the last days" if seen.has_time else "no times"
    return Choice("pre_ranking.popularity_days", history_choices.windows(seen), reason)


def _index(seen: Seen) -> Iterator[Choice]:
    if seen.is_search:
        yield Choice("index.kind", "hybrid", "words that occur in both, beside learned vectors")
        lexical, reason = text_choices.words(seen)
        if lexical:
            yield Choice("index.lexical", lexical, reason)
    yield Choice("index.server", "stock", "TensorFlow Serving as it is published")


def _evaluation(seen: Seen) -> Iterator[Choice]:
    if seen.is_small_corpus:
        yield Choice("evaluate.ks", [5, 10, 20], "list lengths at which metrics are computed")
