"""One system of one seed: its bundle, its quality on test queries, its size; the times of all.

What was measured is written beside the run, so that nothing is measured twice.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.cli.arguments import make_context
from pipelines.comparing.planned_runs import PlannedRun
from pipelines.comparing.seed_runs import CONFIG_NAME, SeedRun, reuse_artifacts
from pipelines.stages import fingerprints
from pipelines.stages.context import StageContext
from pipelines.stages.sequence import part_of_run, stages_for
from serving.bundle.loading import answered_rows, excluded, load_bundle
from serving.bundle.versions import resolve_version
from serving.graph import names
from tests.benchmarks.million_candidates import measuring as turns
from tests.benchmarks.million_candidates.served import Session, Threads
from tests.benchmarks.untouched import timed
from tests.fixtures.served_as_offline import worst_difference
from tfrs_twotower.artifacts import replace_file
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.evaluation.evaluating import evaluate
from tfrs_twotower.evaluation.loading_evaluated_data import load_inputs
from tfrs_twotower.metrics import judge, per_query
from tfrs_twotower.ranking.order import MISSING_ROW

METRICS = ("precision@1", "hit_rate@20", "recall@20", "hit_rate@100", "recall@100", "ndcg@10")
SERVED, CROSS_ENCODER = "served", "cross_encoder"
MEASURED = "measured.json"
_TARGET = "export"
_QUERIES = 16
_LONGEST = 100
_STORED = ("retrieval/searcher/", "cascade/pre_ranking/candidate_heads/")
"""Where the variables of the index and of the second stage's candidates begin."""


@dataclass(frozen=True)
class Served:
    """What serving a system costs, and whether it answers as it was evaluated."""

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
    """`[num_metrics][num_queries]` of what is served, and of a cross-encoder over its lists."""
    served: Served


def context_of(run: PlannedRun, seed: int, root: Path) -> StageContext:
    """The context of a system with a seed, whose run config is written."""
    seed_run = SeedRun(run, seed, root / run.name)
    seed_run.write_config()
    seed_run.workdir.mkdir(exist_ok=True)
    return make_context(seed_run.config_path, seed_run.workdir, (f"seed={seed}",))


def measure(run: PlannedRun, seed: int, root: Path, others: Iterable[PlannedRun]) -> Measured:
    """Makes the bundle of a system and measures it, or reads what was measured before.

    Args:
        run: the system.
        seed: its seed.
        root: directory of all systems.
        others: systems whose equal artifacts are taken.
    """
    context = context_of(run, seed, root)
    config_path, workdir = root / run.name / CONFIG_NAME, context.layout.root
    written, result_file = config_path.read_text(encoding="utf-8"), workdir / MEASURED
    if result_file.exists():
        found = json.loads(result_file.read_text(encoding="utf-8"))
        if found.pop("config") == written:
            return Measured(**{**found, "served": Served(**found["served"])})
    stages = part_of_run(stages_for(_TARGET), context.config)
    places = [root / other.name / f"seed-{seed}" for other in others if other.data == run.data]
    places += [root / run.name / f"seed-{earlier}" for earlier in range(seed)]
    reuse_artifacts(context, stages[:-1], places)
    arguments = ["run", str(config_path), f"--workdir={workdir}", f"--for={_TARGET}"]
    timed([*arguments, f"--set=seed={seed}"])
    measured = Measured(*quality(context), serve(context))
    replace_file(result_file, json.dumps({"config": written, **asdict(measured)}))
    return measured


def quality(context: StageContext) -> tuple[list[str], dict[str, list[list[float]]]]:
    """Test queries, and the metrics of each of them.

    The lists of `SERVED` are those that the bundle answers; the cross-encoder's are those of the
    evaluation.
    """
    layout, spec = context.layout, context.spec
    corpus = load_corpus(layout.preprocessed, spec)
    queries = load_query_set(layout.preprocessed, "test", spec, corpus)
    bundle = load_bundle(layout.bundle / context.config.name)
    left_out = excluded([corpus.ids[own].tolist() for own in queries.seen])
    asked = {**queries.inputs, names.EXCLUDE_IDS: left_out}
    rows = answered_rows(bundle.ask(names.SERVING_DEFAULT, asked), corpus)
    missing = max(0, _LONGEST - rows.shape[1])
    rows = np.pad(rows, ((0, 0), (0, missing)), constant_values=MISSING_ROW)
    found = {SERVED: judge(rows, queries.truth)}
    if fingerprints.has_cross_encoder(context.config):
        inputs = load_inputs(layout, spec, with_pre_ranker=True)
        config = EvaluateConfig(ks=(1, 10, 20, _LONGEST), baselines=(), num_bootstrap=2)
        found[CROSS_ENCODER] = evaluate(inputs, config).runs[CROSS_ENCODER].judged
    values = {
        name: [per_query(metric, judged).tolist() for metric in METRICS]
        for name, judged in found.items()
    }
    return queries.ids.tolist(), values


def serve(context: StageContext) -> Served:
    """Checks and weighs the bundle of a run."""
    difference = worst_difference(context)
    search, second_stage = stored_bytes(version_of(context))
    num_candidates = len(load_corpus(context.layout.preprocessed, context.spec))
    return Served((search + second_stage) / num_candidates, search / 1e6, difference)


def version_of(context: StageContext) -> Path:
    """Directory of the bundle's served version."""
    return resolve_version(context.layout.bundle / context.config.name)


def stored_bytes(version: Path) -> tuple[int, int]:
    """Bytes of the numbers that the index holds, and of those of the second stage's candidates."""
    variables = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    types = variables.get_variable_to_dtype_map()
    shapes = variables.get_variable_to_shape_map()
    search, second_stage = (
        sum(
            int(np.prod(shape)) * types[name].size
            for name, shape in shapes.items()
            if name.startswith(prefix)
        )
        for prefix in _STORED
    )
    return search, second_stage


def milliseconds(contexts: Mapping[str, StageContext], rounds: int) -> dict[str, float]:
    """Median processor time of one query of each system, which take turns in this process."""
    requests = {name: _request(context) for name, context in contexts.items()}
    times = turns.measure(
        requests, num_queries=_QUERIES, rounds=rounds, clock=turns.CLOCKS["processor"]
    )
    return {name: own.quantile(0.5) for name, own in times.items()}


def _request(context: StageContext) -> Callable[[int], Any]:
    layout, spec = context.layout, context.spec
    corpus = load_corpus(layout.preprocessed, spec)
    raw = load_query_set(layout.preprocessed, "test", spec, corpus).inputs
    size = len(next(iter(raw.values())))
    asked: dict[str, Any] = {**raw, names.EXCLUDE_IDS: np.full((size, 1), b"", object)}
    session = Session(version_of(context), Threads(inter_op=-1, intra_op=1))
    ask = session.function(names.SERVING_DEFAULT, list(asked), [names.CANDIDATE_IDS, names.SCORES])
    ones = [
        [values[row : row + 1] for values in asked.values()] for row in np.arange(_QUERIES) % size
    ]
    return lambda number: ask(*ones[number])
