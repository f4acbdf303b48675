"""What smaller candidate heads cost in ranking quality, on a finished run.

    python -m tests.benchmarks.head_storage --spec feature_specs/movielens_100k.yaml \
        --workdir build/demo

The run must have a pre-ranker. Test queries, exact retrieval, full catalogue; the heads are
rounded as a bundle of each `export.candidate_heads` keeps them. The same candidates are the mean
share of the hundred of float32 that a list of a hundred holds.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, get_args

from serving.graph.candidate_heads import HeadStorage
from serving.graph.pre_ranking import as_kept
from tests.benchmarks.million_candidates.measuring import shared
from tfrs_twotower.artifacts import Layout
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.evaluation.corpus_ranking import EmbeddingScorer, rank_cascade
from tfrs_twotower.evaluation.loading_evaluated_data import load_inputs
from tfrs_twotower.evaluation.pre_ranker_scores import PreRankerScores
from tfrs_twotower.metrics import judge, per_query
from tfrs_twotower.specs import FeatureSpec, load_spec
from tfrs_twotower.towers.pre_ranker import load_pre_ranker

METRIC = "ndcg@10"
LARGEST_LOSS = 0.001
LEAST_SHARED = 0.99
_DEPTH = 100


class Quality(NamedTuple):
    """Of the cascade with one storage of its candidate heads."""

    ndcg: float
    """Mean nDCG@10."""
    same: float
    """Mean share of the lists of float32."""


def measure(layout: Layout, spec: FeatureSpec) -> dict[str, Quality]:
    """Quality by storage, float32 first."""
    inputs = load_inputs(layout, spec, with_pre_ranker=True)
    assert inputs.second_stage is not None
    corpus = load_corpus(layout.preprocessed, spec)
    raw = load_query_set(layout.preprocessed, "test", spec, corpus).inputs
    scorer = EmbeddingScorer(inputs.test.embeddings, inputs.corpus.vectors)
    pre_ranker = load_pre_ranker(layout.pre_ranker)
    found: dict[str, Quality] = {}
    exact = None
    for storage in get_args(HeadStorage):
        re_score = PreRankerScores(as_kept(pre_ranker, storage), raw, layout.pre_ranker)
        stage = replace(inputs.second_stage, re_score=re_score)
        ranked = rank_cascade(scorer, inputs.test, inputs.eligible, stage, _DEPTH).ranked
        exact = ranked if exact is None else exact
        same = shared(ranked, exact)
        ndcg = per_query(METRIC, judge(ranked, inputs.test.truth)).mean()
        found[storage] = Quality(float(ndcg), same)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spec", type=Path, required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    options = parser.parse_args(arguments)
    found = measure(Layout(options.workdir), load_spec(options.spec))
    lines = [
        f"| candidate_heads | {METRIC} | loss | at most | same candidates | at least |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for storage, (ndcg, same) in found.items():
        loss = found["float32"].ndcg - ndcg
        cells = f"{ndcg:.5f} | {loss:+.5f} | {LARGEST_LOSS} | {same:.4f} | {LEAST_SHARED}"
        lines.append(f"| {storage} | {cells} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
