"""The whole offline evaluation, from arrays to the report's document."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.artifacts.manifest import package_versions
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.evaluation.baselines.selection import fit_baselines
from tfrs_twotower.evaluation.cascade import rank_cascade
from tfrs_twotower.evaluation.comparisons import compare
from tfrs_twotower.evaluation.embedding_space import describe
from tfrs_twotower.evaluation.funnel import funnel, pool_facts
from tfrs_twotower.evaluation.inputs import EvaluationInputs
from tfrs_twotower.evaluation.key_metrics import key_metrics, tuning_metrics
from tfrs_twotower.evaluation.leakage import check_leakage
from tfrs_twotower.evaluation.protocol import describe_protocol
from tfrs_twotower.evaluation.ranking import EmbeddingScorer, rank_corpus
from tfrs_twotower.evaluation.slices import make_slices, slice_figures
from tfrs_twotower.evaluation.strict_json import to_plain
from tfrs_twotower.evaluation.systems import SystemRun, system_metrics
from tfrs_twotower.metrics import judge

Progress = Callable[[str, float, float], None]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        document: the content of `evaluation.json`.
        runs: the ranking of each system.
    """

    document: dict[str, Any]
    runs: dict[str, SystemRun]


def evaluate(
    inputs: EvaluationInputs,
    config: EvaluateConfig,
    *,
    seed: int = 42,
    refit: bool = False,
    recent_days: float = 28.0,
    index_k: int = 100,
    progress: Progress = lambda description, done, total: None,
) -> Evaluation:
    """Ranks the corpus with every system and measures all of them in the same way.

    Args:
        inputs: what the artifacts hold.
        config: list lengths, baselines, resamples.
        seed: of resampling.
        refit: whether the model learned from validation too.
        recent_days: window of `recent_popularity`.
        index_k: list length of the index, to name its overlap where there is no index.
        progress: told what is done, how much of it, and of how much.
    """
    ks = tuple(sorted(config.ks))
    baselines = fit_baselines(
        inputs,
        config,
        refit=refit,
        recent_days=recent_days,
        metrics=tuning_metrics(ks),
        progress=lambda name: progress(f"fit {name}", 0, 1),
    )
    progress("rank retrieval", 0, len(baselines.scorers) + 1)
    cascade = rank_cascade(
        EmbeddingScorer(inputs.test.embeddings, inputs.candidate_embeddings),
        inputs.test,
        inputs.eligible,
        inputs.second_stage,
        max(ks),
    )
    ranked = {"retrieval": cascade.retrieved, "cascade": cascade.ranked}
    for place, (name, scorer) in enumerate(baselines.scorers.items(), 1):
        progress(f"rank {name}", place, len(baselines.scorers) + 1)
        ranked[name] = rank_corpus(scorer, inputs.test, inputs.eligible, max(ks))
    runs = {
        name: SystemRun(name, rows, judge(rows, inputs.test.truth)) for name, rows in ranked.items()
    }
    progress("measure", len(baselines.scorers) + 1, len(baselines.scorers) + 1)
    return Evaluation(
        to_plain(
            _document(inputs, config, runs, cascade.held, ks, seed, index_k)
            | {
                "protocol": describe_protocol(inputs, config, baselines, refit=refit, seed=seed),
            }
        ),
        runs,
    )


def _document(
    inputs: EvaluationInputs,
    config: EvaluateConfig,
    runs: dict[str, SystemRun],
    held: NDArray[np.float64] | None,
    ks: tuple[int, ...],
    seed: int,
    index_k: int,
) -> dict[str, Any]:
    slices = make_slices(inputs)
    systems: dict[str, dict[str, Any]] = {}
    for name, run in runs.items():
        if name == "cascade" and held is None:
            systems[name] = systems["retrieval"]
            continue
        systems[name] = {
            "metrics": system_metrics(run, inputs, ks, config.num_bootstrap, seed),
            "slices": slice_figures(
                run, inputs, slices, key_metrics(ks), num_bootstrap=config.num_bootstrap, seed=seed
            ),
        }
    stages = [runs["retrieval"]] if held is None else [runs["cascade"], runs["retrieval"]]
    pool = None
    if held is not None and inputs.second_stage is not None:
        pool = pool_facts(
            held,
            inputs.second_stage,
            {run.name: run.judged for run in reversed(stages)},
            ks,
            config.num_bootstrap,
            seed,
        )
    retrieval, cascade = systems["retrieval"]["metrics"], systems["cascade"]["metrics"]
    baselines = [run for name, run in runs.items() if name not in ("retrieval", "cascade")]
    return {
        "dataset": inputs.dataset,
        "protocol": {},
        "leakage_check": check_leakage(inputs),
        "systems": systems,
        "funnel": funnel(retrieval, cascade, inputs.index_quality, index_k, pool),
        "comparisons": compare(
            stages,
            baselines,
            key_metrics(ks),
            num_resamples=config.num_bootstrap,
            seed=seed,
        ),
        "embedding_space": describe(
            inputs.test.embeddings,
            inputs.candidate_embeddings,
            inputs.test.truth,
            runs["retrieval"].ranked,
            k=min(ks),
            seed=seed,
        ),
        "timings": inputs.timings,
        "environment": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processors": os.cpu_count(),
            "packages": package_versions(),
        },
    }
