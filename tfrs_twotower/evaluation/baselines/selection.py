"""Chooses the baselines that the data and the memory allow, and names the others."""

from dataclasses import dataclass
from importlib import util

import numpy as np

from tfrs_twotower.closed_form import linear_models
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.environment import how_to_install
from tfrs_twotower.evaluation import budget, evaluated_data
from tfrs_twotower.evaluation.baselines import collaborative, profile_models
from tfrs_twotower.specs import TRAIN, VALIDATION

_PROFILE = ("item_knn", "ease", "rdlae", "recent_ease", "ials")
_LINEAR = ("ease", "rdlae", "recent_ease")
NAMES = ("popularity", "recent_popularity", *_PROFILE, "bm25", "hybrid")


@dataclass(frozen=True)
class Selection:
    """The baselines of one evaluation.

    Attributes:
        names: those that are computed, in the order of the report.
        left_out: those that cannot be computed, with the reason.
    """

    names: tuple[str, ...]
    left_out: dict[str, str]


def select(
    inputs: evaluated_data.EvaluationInputs, config: EvaluateConfig, *, refit: bool
) -> Selection:
    """The baselines that the config names, without those that the data does not allow."""
    wanted = [name for name in NAMES if config.baselines is None or name in config.baselines]
    reasons = reasons_against(inputs, config, refit=refit)
    return Selection(
        tuple(name for name in wanted if name not in reasons),
        {name: reasons[name] for name in wanted if name in reasons},
    )


def reasons_against(
    inputs: evaluated_data.EvaluationInputs, config: EvaluateConfig, *, refit: bool = False
) -> dict[str, str]:
    """Baselines that cannot be computed on this data, with the reason."""
    reasons: dict[str, str] = {}
    test = inputs.test
    if len(inputs.log):
        reasons |= _too_large(inputs, config, splits_of(refit))
        reasons |= _too_dear(inputs, config, splits_of(refit))
    if util.find_spec("implicit") is None:
        reasons["ials"] = f"implicit is not installed: {how_to_install('report')}"
    if not bool((test.num_events > 0).any()):
        reasons |= dict.fromkeys(_PROFILE, "no test query has an earlier event")
        if test.texts is not None and inputs.corpus.texts is not None:
            reason = "text retrieval: no test query has an earlier event"
            reasons |= {"popularity": reason, "recent_popularity": reason}
    if not len(inputs.log):
        learning = ("popularity", "recent_popularity", *_PROFILE)
        reasons |= dict.fromkeys(learning, "there are no interactions to learn from")
    elif not inputs.split.has_time:
        reasons |= dict.fromkeys(("recent_popularity", "recent_ease"), "interactions have no time")
    return reasons | _without_texts(inputs)


def _without_texts(inputs: evaluated_data.EvaluationInputs) -> dict[str, str]:
    if inputs.test.texts is None or inputs.corpus.texts is None:
        return dict.fromkeys(("bm25", "hybrid"), "the two sides do not both have text")
    if inputs.validation is None:
        return {"hybrid": "there are no validation queries to tune its weight on"}
    if not len(inputs.validation.embeddings):
        reason = "no embeddings of validation queries are by towers that have not learned them"
        return {"hybrid": f"{reason}; run embed again"}
    return {}


def _too_large(
    inputs: evaluated_data.EvaluationInputs, config: EvaluateConfig, learn_from: tuple[int, ...]
) -> dict[str, str]:
    order = matrix_order(inputs, learn_from)
    if order > config.ease_max_candidates:
        reason = (
            f"it inverts a matrix of order {order:,}, the smaller number of candidates and queries "
            f"with interactions; evaluate.ease_max_candidates is {config.ease_max_candidates:,}"
        )
        return dict.fromkeys(_LINEAR, reason)
    if order > linear_models.SMALL_ORDER:
        return {
            "recent_ease": f"its half-life is tuned up to a matrix of order "
            f"{linear_models.SMALL_ORDER:,}; here it is {order:,}"
        }
    return {}


def _too_dear(
    inputs: evaluated_data.EvaluationInputs, config: EvaluateConfig, learn_from: tuple[int, ...]
) -> dict[str, str]:
    """Baselines that the config does not name and that cost too much, by counts."""
    log, num_candidates = inputs.log, len(inputs.corpus)
    learned = collaborative.window(log, learn_from, positives_only=False)
    choices = np.bincount(log.query[learned], minlength=len(log.query_ids))
    costs = {
        "item_knn": profile_models.neighbours_cost(
            choices, num_candidates, config.item_knn_neighbours
        ),
        "ials": profile_models.ials_cost(len(choices), num_candidates, int(choices.sum())),
    }
    reasons = {name: budget.reason_against(cost) for name, cost in costs.items()}
    return {
        name: reason
        for name, reason in reasons.items()
        if reason is not None and name not in (config.baselines or ())
    }


def matrix_order(inputs: evaluated_data.EvaluationInputs, learn_from: tuple[int, ...]) -> int:
    """Order of the matrix that a linear model of these splits inverts.

    It is the number of candidates with an interaction, or that of queries if they are fewer.
    """
    log = inputs.log
    learned = collaborative.window(log, learn_from, positives_only=False)
    return min(int(np.count_nonzero(np.bincount(of[learned]))) for of in (log.query, log.candidate))


def splits_of(refit: bool) -> tuple[int, ...]:
    """The splits that baselines learn from: those that the model learned from."""
    return (TRAIN, VALIDATION) if refit else (TRAIN,)
