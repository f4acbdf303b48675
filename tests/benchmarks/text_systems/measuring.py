"""One system of one seed: its bundle, its quality on test queries, its latency and its size.

What was measured is written beside the run, so that nothing is measured twice.
"""

import json
import statistics
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.cli.arguments import make_context
from pipelines.comparing.planned_runs import PlannedRun
from pipelines.comparing.seed_runs import SeedRun, reuse_artifacts
from pipelines.stages.context import StageContext
from pipelines.stages.sequence import part_of_run, stages_for
from serving.bundle.versions import resolve_version
from serving.graph import names
from tests.benchmarks.million_candidates.served import Session, Threads
from tests.benchmarks.untouched import timed
from tests.fixtures.served_as_offline import worst_difference
from tfrs_twotower.artifacts import replace_file
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.evaluation.evaluating import evaluate
from tfrs_twotower.evaluation.loading_evaluated_data import load_inputs

METRICS = ("precision@1", "hit_rate@20", "recall@20", "hit_rate@100", "recall@100", "ndcg@10")
MEASURED = "measured.json"
_TARGET = "export"
_KS = (1, 10, 20, 100)
_CALLS = 200
_UNTIMED = 20
_SEARCH, _SECOND_STAGE, _QUERY_TOWERS = "retrieval/searcher/", "pre_ranking/", "/query_towers/"


@dataclass(frozen=True)
class Served:
    """What serving a system costs, and whether it answers as it was evaluated."""

    milliseconds: float
    """Median processor time of one query, array to array, on one thread."""
    bytes_per_candidate: float
    """Of the index and of the second stage's candidate side, ids and titles left out."""
    index_mb: float
    """Of the index alone."""
    difference: float
    """Largest difference between what a local server answers and what is computed offline."""


@dataclass(frozen=True)
class Measured:
    """A system with one seed."""

    query_ids: list[str]
    """The test queries."""
    values: dict[str, list[list[float]]]
    """`[num_metrics][num_queries]` of every stage: retrieval, cascade, cross_encoder."""
    served: Served
    cpu_s: float
    """Processor seconds to the bundle, without what other systems had computed already."""


def measure(run: PlannedRun, seed: int, root: Path, others: Iterable[PlannedRun]) -> Measured:
    """Makes the bundle of a system and measures it, or reads what was measured before.

    Args:
        run: the system.
        seed: its seed.
        root: directory of all systems.
        others: systems whose equal artifacts are taken.
    """
    seed_run = SeedRun(run, seed, root / run.name)
    seed_run.write_config()
    written = seed_run.config_path.read_text(encoding="utf-8")
    result_file = seed_run.workdir / MEASURED
    if result_file.exists():
        found = json.loads(result_file.read_text("utf-8"))
        if found.pop("config") == written:
            return Measured(**{**found, "served": Served(**found["served"])})
    seed_run.workdir.mkdir(exist_ok=True)
    context = make_context(seed_run.config_path, seed_run.workdir, (f"seed={seed}",))
    stages = part_of_run(stages_for(_TARGET), context.config)
    places = [root / other.name / f"seed-{seed}" for other in others if other.data == run.data]
    places += [root / run.name / f"seed-{earlier}" for earlier in range(seed)]
    reuse_artifacts(context, stages[:-1], places)
    arguments = ["run", str(seed_run.config_path), f"--workdir={seed_run.workdir}"]
    cost = timed([*arguments, f"--set=seed={seed}", "--for=export"])
    query_ids, values = quality(context)
    measured = Measured(query_ids, values, serve(context), cost.cpu_s)
    replace_file(result_file, json.dumps({"config": written, **asdict(measured)}))
    return measured


def quality(context: StageContext) -> tuple[list[str], dict[str, list[list[float]]]]:
    """Test queries, and the metrics of each stage for each of them; the full corpus is ranked."""
    has_second_stage = context.config.pre_ranking is not None
    inputs = load_inputs(context.layout, context.spec, with_pre_ranker=has_second_stage)
    config = EvaluateConfig(ks=_KS, baselines=(), num_bootstrap=2, num_example_queries=0)
    runs = evaluate(inputs, config).runs
    if not has_second_stage:
        del runs["cascade"]
    values = {
        name: [run.values(metric).tolist() for metric in METRICS] for name, run in runs.items()
    }
    return inputs.test.ids.tolist(), values


def serve(context: StageContext) -> Served:
    """Checks, times and weighs the bundle of a run."""
    difference = worst_difference(context)
    version = resolve_version(context.layout.bundle / context.config.name)
    search, second_stage = stored_bytes(version)
    num_candidates = len(load_corpus(context.layout.preprocessed, context.spec))
    return Served(
        milliseconds=milliseconds(context, version),
        bytes_per_candidate=(search + second_stage) / num_candidates,
        index_mb=search / 1e6,
        difference=difference,
    )


def stored_bytes(version: Path) -> tuple[int, int]:
    """Bytes of the numbers that the index holds, and of those of the second stage's candidates."""
    variables = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    types = variables.get_variable_to_dtype_map()
    sizes = {
        name: int(np.prod(shape)) * types[name].size
        for name, shape in variables.get_variable_to_shape_map().items()
    }
    search = sum(size for name, size in sizes.items() if name.startswith(_SEARCH))
    second_stage = sum(
        size
        for name, size in sizes.items()
        if name.startswith(_SECOND_STAGE) and _QUERY_TOWERS not in name
    )
    return search, second_stage


def milliseconds(context: StageContext, version: Path) -> float:
    """Median processor time of one query, over test queries in turn."""
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    raw = load_query_set(context.layout.preprocessed, "test", context.spec, corpus).inputs
    size = len(next(iter(raw.values())))
    asked: dict[str, Any] = {**raw, names.EXCLUDE_IDS: np.full((size, 1), b"", object)}
    session = Session(version, Threads(inter_op=-1, intra_op=1))
    ask = session.function(names.SERVING_DEFAULT, list(asked), [names.CANDIDATE_IDS, names.SCORES])
    taken = []
    for call in range(-_UNTIMED, _CALLS):
        one = [values[call % size : call % size + 1] for values in asked.values()]
        started = time.process_time()
        ask(*one)
        taken.append(time.process_time() - started)
    session.close()
    return 1e3 * statistics.median(taken[_UNTIMED:])
