"""What a stranger's tables get: `twotower init`, then `twotower run`, without a change.

    TWOTOWER_DATA=data python -m tests.benchmarks.untouched --workdir build/untouched

Each set is given to `init` as its tables are; the served system is compared with every baseline of
the report in three metrics. Several seeds end in rows of their means, whose p is that of the paired
test over queries, corrected by Holm over all baselines and metrics of the set. Neither the prepared
tables nor the baselines depend on the seed: later seeds take them from the first one, whose
processor seconds and memory are those of the row (imports and Beam's workers included). With
--config, a run config of the repository is measured the same way; with --tune, what `twotower tune`
makes of it in so many minutes: one search, whose settings every seed takes. What was measured is
kept in the working directory: the same command measures only what is missing.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_twotower.artifacts import Layout
from tfrs_twotower.evaluation.comparison.across_seeds import SystemSeeds, paired_tests
from tfrs_twotower.evaluation.report.report_files import PER_QUERY, PerQuery, read_per_query

OWN = ("retrieval", "cascade", "hybrid")
METRICS = ("ndcg@10", "recall@20", "recall@100")
SETS: Mapping[str, Mapping[str, str]] = {
    "movielens_100k": {
        "interactions": "interactions.tsv",
        "candidates": "items.tsv",
        "queries": "users.tsv",
    },
    "online_retail": {
        "interactions": "interactions.parquet",
        "candidates": "items.parquet",
        "queries": "users.parquet",
    },
    "completejourney": {
        "interactions": "interactions.parquet",
        "candidates": "items.parquet",
        "queries": "households.parquet",
    },
    "movietweetings": {"interactions": "interactions.parquet", "candidates": "items.parquet"},
    "toys": {"interactions": "interactions.parquet", "candidates": "items.parquet"},
    "medquad": {
        "interactions": "qrels.tsv",
        "candidates": "corpus.jsonl",
        "queries": "queries.jsonl",
    },
    "vaswani": {
        "interactions": "qrels.tsv",
        "candidates": "corpus.jsonl",
        "queries": "queries.jsonl",
    },
}


@dataclass(frozen=True)
class Cost:
    """What a command took: processor seconds of all its processes, and its largest process."""

    cpu_s: float
    peak_gib: float


def timed(arguments: Sequence[str]) -> Cost:
    """Runs `twotower` with these arguments.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pipelines", *arguments]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(round(seconds, 1), round(usage.ru_maxrss / 2**20, 2))


def run_config(name: str, data: Path, workdir: Path) -> Path:
    """The run config that `init` writes for a set."""
    config = workdir / f"{name}_run.yaml"
    if not config.exists():
        tables = [f"--{table}={data / name / file}" for table, file in SETS[name].items()]
        timed(["init", *tables, f"--out={workdir}", f"--name={name}"])
    return config


def tuned_config(config: Path, minutes: float, workdir: Path) -> Path:
    """The run config that `tune` writes for another."""
    tuned = workdir / f"{config.stem}_tuned.yaml"
    if not tuned.exists():
        search = f"--workdir={workdir / 'tune'}"
        cost = timed(["tune", str(config), search, f"--minutes={minutes}", f"--out={workdir}"])
        say(f"tune: {cost.cpu_s:.0f} CPU s, {cost.peak_gib:.1f} GiB")
    return tuned


def measure(config: Path, workdir: Path, seed: int, first: Path | None = None) -> dict[str, Any]:
    """Runs a config, and returns its evaluation and its costs.

    Args:
        config: the run config.
        workdir: directory of the run.
        seed: its seed.
        first: directory of another seed, whose prepared tables are taken and whose baselines are
            not ranked again.
    """
    result_file = workdir / "measured.json"
    if not result_file.exists():
        shutil.rmtree(workdir, ignore_errors=True)
        common = ["run", str(config), f"--workdir={workdir}", f"--set=seed={seed}"]
        if first is not None:
            prepared = Layout(first).preprocessed
            shutil.copytree(prepared, Layout(workdir).preprocessed, copy_function=os.link)
            common.append("--set=evaluate.baselines=[]")
        bundle = timed([*common, "--to=export"])
        evaluation = timed(common)
        report = json.loads((workdir / "report" / "evaluation.json").read_text("utf-8"))
        result = {"bundle": asdict(bundle), "evaluation": asdict(evaluation), "report": report}
        result_file.write_text(json.dumps(result), encoding="utf-8")
    loaded: dict[str, Any] = json.loads(result_file.read_text("utf-8"))
    return loaded


def lines_of(name: str, measured: Mapping[str, Any]) -> list[str]:
    """Rows of the table: the served system beside the strongest baseline in each metric."""
    report = measured["report"]
    systems = report["systems"]
    served = served_of(report)
    own = systems[served]["metrics"]
    cost = cost_of(measured)
    rows = []
    for metric in METRICS:
        others = {
            system: found["metrics"][metric]["mean"]
            for system, found in systems.items()
            if system not in OWN
        }
        best = max(others, key=lambda system: others[system])
        (test,) = (
            entry
            for entry in report["comparisons"]
            if (entry["a"], entry["b"], entry["metric"]) == (served, best, metric)
        )
        rows.append(
            f"| {name} | {served} | {metric} | {own[metric]['mean']:.4f} | {best} "
            f"{others[best]:.4f} | {test['difference']:+.4f} ({test['p_holm']:.3f}) | "
            f"{own[metric]['queries']:,} | {cost} |"
        )
    return rows


def mean_lines_of(name: str, first_seed: Mapping[str, Any], seeds: Sequence[PerQuery]) -> list[str]:
    """Rows of the means over seeds, as `lines_of` has them for one.

    Args:
        name: the set.
        first_seed: what `measure` returned for the first seed.
        seeds: the values of each seed's test queries; those of the baselines are the first one's.
    """
    first = seeds[0]
    values = {
        system: SystemSeeds(
            name, system, np.stack([seed.values.get(system, of_first) for seed in seeds])
        )
        for system, of_first in first.values.items()
    }
    served = values[served_of(first_seed["report"])]
    baselines = [own for system, own in values.items() if system not in OWN]
    tests = paired_tests([(served, baseline) for baseline in baselines], first.metrics)
    rows = []
    for place, metric in enumerate(first.metrics):

        def mean(system: SystemSeeds, place: int = place) -> float:
            return float(system.values[:, place].mean())

        best = max(baselines, key=mean)
        (test,) = (test for test in tests if (test.b.system, test.metric) == (best.system, metric))
        rows.append(
            f"| {name}, mean of {len(seeds)} seeds | {served.system} | {metric} | "
            f"{mean(served):.4f} | {best.system} {mean(best):.4f} | "
            f"{test.difference:+.4f} ({test.over_queries.p_holm:.3f}) | "
            f"{len(first.query_ids):,} | {cost_of(first_seed)} |"
        )
    return rows


def served_of(report: Mapping[str, Any]) -> str:
    """What is served: `retrieval` without a second stage, where only that is compared."""
    compared = {entry["a"] for entry in report["comparisons"]}
    return "cascade" if "cascade" in compared else "retrieval"


def cost_of(measured: Mapping[str, Any]) -> str:
    """Processor seconds and memory of a run, to the bundle and of the evaluation."""
    return ", ".join(
        f"{part} {measured[part]['cpu_s']:.0f} CPU s, {measured[part]['peak_gib']:.1f} GiB"
        for part in ("bundle", "evaluation")
    )


def say(line: str) -> None:
    """Prints a row of the table at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Parses the arguments, measures, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, default=Path("build/untouched"))
    parser.add_argument("--only", action="append", choices=list(SETS))
    parser.add_argument("--config", action="store_true", help="measure pipelines/configs instead")
    parser.add_argument("--tune", type=float, metavar="MINUTES", help="tune the config first")
    parser.add_argument("--seed", type=int, action="append")
    arguments = parser.parse_args()
    data = Path(os.environ.get("TWOTOWER_DATA") or "data").resolve()
    say("| set | served | metric | mean | strongest baseline | difference (p) | queries | cost |")
    say("| --- | --- | --- | ---: | --- | ---: | ---: | --- |")
    for name in arguments.only or SETS:
        workdir = arguments.workdir.resolve() / name
        workdir.mkdir(parents=True, exist_ok=True)
        if arguments.config:
            config = Path("pipelines/configs").resolve() / f"{name}.yaml"
        else:
            config = run_config(name, data, workdir)
        if arguments.tune is not None:
            config = tuned_config(config, arguments.tune, workdir)
        seed_dirs = {
            seed: workdir / config.stem / f"seed-{seed}" for seed in arguments.seed or [42]
        }
        (first_seed, first_dir), *others = seed_dirs.items()
        measured = measure(config, first_dir, first_seed)
        for line in lines_of(name, measured):
            say(line)
        for seed, seed_dir in others:
            measure(config, seed_dir, seed, first_dir)
        if others:
            by_query = [
                read_per_query(place / "report" / PER_QUERY) for place in seed_dirs.values()
            ]
            for line in mean_lines_of(name, measured, by_query):
                say(line)


if __name__ == "__main__":
    main()
