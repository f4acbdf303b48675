"""How the figures were made, so that a reader can judge and repeat them."""

from typing import Any

from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.evaluation.baselines.selection import Baselines
from tfrs_twotower.evaluation.inputs import SPLIT_NAMES, EvaluationInputs
from tfrs_twotower.evaluation.per_query import judged_on


def describe_protocol(
    inputs: EvaluationInputs,
    config: EvaluateConfig,
    baselines: Baselines,
    *,
    refit: bool,
    seed: int,
) -> dict[str, Any]:
    """The `protocol` of `evaluation.json`."""
    split = inputs.split
    return {
        "ks": sorted(config.ks),
        "judged_on": judged_on(inputs),
        "split": split.kind,
        "window": inputs.statistics.get("window"),
        "interactions": {
            name: int((inputs.log.split == code).sum()) for code, name in enumerate(SPLIT_NAMES)
        },
        "test_queries": len(inputs.test),
        "validation_queries": len(inputs.validation) if inputs.validation is not None else 0,
        "empty_queries": inputs.statistics.get("empty_queries"),
        "candidates": len(inputs.corpus),
        "ranked_candidates": int(inputs.eligible.sum()),
        "relevant_pairs": len(inputs.test.truth.gains),
        "ranking": "full corpus, exact; score descending, then candidate id ascending",
        "seen_candidates": (
            "left out of the ranking (all earlier events of the query, any label)"
            if split.new_pairs_only
            else "stay in the ranking: repeats count as relevant"
        ),
        "known_queries_only": split.known_queries_only,
        "known_candidates_only": split.known_candidates_only,
        "average": "mean over queries; a query without relevant candidates is left out and counted",
        "recall": "found / all relevant (TREC), not divided by min(K, relevant)",
        "ndcg": "linear gains, log2 discount",
        "intervals": f"95 %, percentile bootstrap over queries, {config.num_bootstrap} resamples; "
        "they do not cover the noise between training seeds",
        "significance": "paired randomisation over queries, Holm's correction over all pairs "
        "listed, level .05",
        "coverage_interval": "coverage describes these very lists; its interval is its value",
        "baselines_learn_from": (
            "training and validation interactions, as the model does (training.refit)"
            if refit
            else "training interactions, as the model does; a test query's own earlier events "
            "include validation, as in the model's histories"
        ),
        "baselines": baselines.settings,
        "left_out": baselines.left_out,
        "cascade": (
            "retrieval alone: nothing ranks after it"
            if inputs.second_stage is None
            else f"the first {inputs.second_stage.num_candidates} of exact retrieval, scored again "
            "by the pre-ranker; score descending, then candidate id ascending"
        ),
        "seed": seed,
    }
