"""Runs of a comparison with planted differences, without training anything."""

import numpy as np

from tests.fixtures.tiny import tiny_run_config
from tests.unit.evaluation.documents import evaluation_document, system_figures
from tfrs_twotower.evaluation.comparison.comparing_runs import RunResult, SeedResult
from tfrs_twotower.evaluation.report.report_files import PerQuery

METRICS = ("ndcg@10", "recall@20")
NUM_QUERIES = 80


def per_query(seed, lift, *, cascade=0.0, baselines=True):
    """Values of 80 queries; retrieval is `lift` above the queries' own level in every metric."""
    level = np.random.default_rng(0).uniform(0.2, 0.5, (len(METRICS), NUM_QUERIES))
    noise = np.random.default_rng([seed, round(1000 * abs(lift))]).normal(0, 0.01, level.shape)
    values = {"retrieval": level + lift + noise}
    values["cascade"] = values["retrieval"] + cascade
    if baselines:
        values |= {"popularity": level - 0.15, "ease": level - 0.02}
    return PerQuery(tuple(f"q{query:02d}" for query in range(NUM_QUERIES)), METRICS, values)


def seed_result(seed, lift, *, judged_on="one", dataset="tiny", **changes):
    planted = per_query(seed, lift, **changes)
    document = evaluation_document(
        dataset=dataset,
        protocol={
            "judged_on": judged_on,
            "ks": [10, 20],
            "test_queries": NUM_QUERIES,
            "ranked_candidates": 1234,
            "relevant_pairs": 321,
        },
        systems={
            name: system_figures(
                {metric: float(values[place].mean()) for place, metric in enumerate(METRICS)}
            )
            for name, values in planted.values.items()
        },
        leakage_check={"verdict": "clean"},
        environment={
            "python": "3", "platform": "p", "processors": 2, "packages": {"numpy": "2"},
        },
    )  # fmt: skip
    return SeedResult(document, planted, {"train": 1.5 + seed, "evaluate": 2.0})


def run_result(name, lift=0.0, *, num_seeds=5, baselines_of="base", label=None, **changes):
    settings = changes.pop("settings", {})
    return RunResult(
        name=name,
        label=label or name,
        config=tiny_run_config(**settings),
        directory=f"runs/{name}",
        baselines_of=baselines_of,
        seeds=tuple(
            seed_result(seed, lift, baselines=seed == 0 and baselines_of == name, **changes)
            for seed in range(num_seeds)
        ),
    )


def planted(num_seeds=5):
    """`better` gains a tenth and has a cascade, `same` gains nothing."""
    return [
        run_result("base", num_seeds=num_seeds),
        run_result("better", 0.1, cascade=0.05, num_seeds=num_seeds, label="<better>"),
        run_result("same", 0.0, num_seeds=num_seeds),
    ]
