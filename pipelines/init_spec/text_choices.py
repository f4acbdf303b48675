"""What depends on questions and passages in the run config that `init` writes for texts."""

from collections.abc import Mapping
from typing import Any

from pipelines.init_spec.seen import Seen

_ENOUGH_QUESTIONS = 500
"""Training questions from which towers that start at random add something to a second stage."""
_MOST_SPANS = 8
"""Pseudo-questions of a passage, all passes together, that are more than enough."""


def words(seen: Seen) -> tuple[dict[str, Any], str]:
    """Settings of the search of words, and why."""
    settings: dict[str, Any] = {}
    reasons = []
    if seen.answers_return:
        settings["question_weight"] = 0.25
        reasons.append("what a passage was asked belongs to its words")
    if seen.has_few_questions:
        settings["feedback"] = True
        reasons.append("words of the first passages are asked, too, as far as that helps")
    return settings, "; ".join(reasons)


def pseudo_questions(seen: Seen) -> dict[str, int]:
    """As many spans of each passage as the budget has time for."""
    passes = min(_MOST_SPANS, int(seen.affordable(seen.num_candidates)))
    return {"per_candidate": max(passes // 2, 1), "epochs": 2 if passes > 1 else 1}


def members(seen: Seen, heads: Mapping[str, Any], cost: float) -> list[dict[str, Any]]:
    """The trained towers of the second stage: as many as have time for two passes, if any.

    Args:
        seen: what `init` sees in the tables.
        heads: settings that all members share.
        cost: of an example of a member, in multiples of one of the first stage.
    """
    if seen.num_queries < _ENOUGH_QUESTIONS:
        return []
    member = {
        "kind": "inttower",
        "embedding_dim": 128,
        "num_residual_layers": 0,
        "token_dropout": 0.1,
        "bag_positions": True,
        "candidate_views": 2,
        "head_dim": 128,
        "field_gate": "none",
        **heads,
    }
    return [member] * (2 if seen.affordable(seen.num_examples, 2 * cost) >= 2 else 1)
