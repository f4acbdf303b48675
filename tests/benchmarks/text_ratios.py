"""One vector a text beside full-width vectors and late interaction: time and bytes as ratios.

    python -m tests.benchmarks.text_ratios

A request is a question in words: it is cut into pieces, encoded, and 100 candidates come back, in
the core operations of an exported graph, on one thread. All systems have encoders of one size and
planted candidates; times do not depend on what vectors hold. Late interaction compares its tokens
with those of all candidates where there are 1,000, and otherwise of the 1,000 that its own vectors
find first, at full width and in float32. Systems take turns in one process, times are those of the
processor, and a ratio is the median over turns.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from serving.graph.pre_ranking import PreRanking
from tests.benchmarks.million_candidates.cascades import bytes_of
from tests.benchmarks.million_candidates.measuring import CLOCKS, Times, measure
from tfrs_twotower.config import ColbertConfig, PlainTowerConfig, TransformerConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.index.exact_search import ExactSearch, to_int8
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.narrow import NarrowTowers
from tfrs_twotower.towers.pre_ranker import Combination, Member, PreRanker

DPR = "DPR, float32"
NARROW, NARROW_INT8 = "Matryoshka, float32", "Matryoshka, int8"
HALF = "DPR, half of the query's layers"
NARROW_HALF = "Matryoshka, int8, half of the query's layers"
LATE = "late interaction, int8"
SIZES = (1_000, 100_000)
_K = 100
_POOL = 1_000
_QUESTION_WORDS = 16
_QUESTIONS = 32
_WORDS = [f"w{number:04d}" for number in range(2000)]
Request = Callable[[int], Any]


class Sizes(NamedTuple):
    """Of all encoders, and of what is stored."""

    dim: int = 256
    """Full width."""
    width: int = 64
    """The served first entries of a Matryoshka vector."""
    layers: int = 4
    """Transformer layers."""
    tokens: int = 64
    """Tokens of a candidate in late interaction."""
    token_dim: int = 32


class System(NamedTuple):
    """One of the systems over one corpus."""

    ask: Request
    """Answers a question by its number."""
    bytes_per_candidate: float


class Asked(NamedTuple):
    """A ratio that is asked for."""

    of: str
    to: str
    latency: float
    stored: float | None = None


ASKED = (
    Asked(NARROW, DPR, 1.05, 0.5),
    Asked(NARROW_INT8, DPR, 1.05, 0.5),
    Asked(HALF, DPR, 1.0),
    Asked(NARROW, LATE, 0.34, 0.1),
    Asked(NARROW_INT8, LATE, 0.34, 0.1),
    Asked(NARROW_HALF, LATE, 0.34, 0.1),
)


def text_spec() -> FeatureSpec:
    """A text on each side, of whole words, encoded by a transformer."""
    text = {"kind": "text", "vocabulary": "words", "encoder": "transformer"}
    sides = {
        side: {"features": [{"name": side, "max_tokens": _QUESTION_WORDS, **text}]}
        for side in ("query", "candidate")
    }
    data = {
        "name": "planted",
        "interactions": {"path": "i.csv", "query_id": "q", "candidate_id": "c"},
        "queries": {"path": "q.csv", "id": "q", "split": "split"},
        "candidates": {"path": "c.csv", "id": "c"},
        **sides,
        "split": {"kind": "given"},
    }
    return parse(FeatureSpec, data, "text_ratios", FeatureSpecError)


def systems_of(num_candidates: int, sizes: Sizes) -> dict[str, System]:
    """All systems over a corpus."""
    random = np.random.default_rng(0)
    drawn = random.choice(np.array(_WORDS), (_QUESTIONS, _QUESTION_WORDS))
    questions = [tf.constant([" ".join(line)]) for line in drawn]
    shape: dict[str, Any] = {
        "embedding_dim": sizes.dim,
        "num_residual_layers": 0,
        "transformer": TransformerConfig(
            num_layers=sizes.layers, num_heads=4, feed_forward_dim=2 * sizes.dim
        ),
    }
    assets = Assets({"words": ["[PAD]", "[UNK]", *_WORDS]}, {"numeric": {}})

    def towers(**other: Any) -> Any:
        return build_towers(text_spec(), PlainTowerConfig(**{**shape, **other}), assets, seed=1)

    whole, half = towers(), towers(query_transformer_layers=max(1, sizes.layers // 2))
    narrow = NarrowTowers(whole, sizes.width)
    vectors = _unit(random.standard_normal((num_candidates, sizes.dim), np.float32))
    first = _unit(vectors[:, : sizes.width])
    found = {
        DPR: _single(whole, ExactSearch(vectors), questions),
        "DPR, int8": _single(whole, ExactSearch(to_int8(vectors)), questions),
        NARROW: _single(narrow, ExactSearch(first), questions),
        NARROW_INT8: _single(narrow, ExactSearch(to_int8(first)), questions),
        HALF: _single(half, ExactSearch(vectors), questions),
        NARROW_HALF: _single(
            NarrowTowers(half, sizes.width), ExactSearch(to_int8(first)), questions
        ),
    }
    colbert = ColbertConfig(
        kind="colbert",
        head_dim=sizes.token_dim,
        max_query_tokens=_QUESTION_WORDS,
        max_candidate_tokens=sizes.tokens,
        **shape,
    )
    of_tokens = build_towers(text_spec(), colbert, assets, seed=1)
    heads = _unit(
        random.standard_normal((num_candidates, sizes.tokens, sizes.token_dim), np.float32)
    )
    found[LATE] = _late_interaction(of_tokens, heads, vectors, questions)
    return found


def _single(towers: Any, search: ExactSearch, questions: Sequence[tf.Tensor]) -> System:
    def answer(text: tf.Tensor) -> tf.Tensor:
        return search.search(towers.query({"query": text}), _K)[1]

    return System(_request(answer, questions), bytes_of(search) / search.num_candidates)


def _late_interaction(
    towers: Any,
    heads: np.ndarray,
    vectors: np.ndarray,
    questions: Sequence[tf.Tensor],
) -> System:
    """Tokens in eight bits; beyond `_POOL` candidates the towers' own vectors find the first."""
    size = len(heads)
    weights = (0.0, 1.0)
    pre_ranker = PreRanker(
        (Member(towers, tf.constant(heads)),),
        Combination(_POOL, ("retrieval", "interaction_0"), weights),
        tf.zeros([size, 0]),
    )
    pre_ranking = PreRanking(pre_ranker, "int8")
    stored = bytes_of(pre_ranking.candidate_heads)
    search = ExactSearch(vectors) if size > _POOL else None
    if search is not None:
        stored += bytes_of(search)
    everyone = tf.range(size, dtype=tf.int32)[tf.newaxis], tf.zeros([1, size])

    def answer(text: tf.Tensor) -> tf.Tensor:
        raw = {"query": text}
        rows, scores = everyone
        if search is not None:
            scores, rows = search.search(towers.query(raw), _POOL)
        return pre_ranking.best(raw, rows, scores, _K)[1]

    return System(_request(answer, questions), stored / size)


def _request(answer: Callable[[tf.Tensor], tf.Tensor], questions: Sequence[tf.Tensor]) -> Request:
    signature = [tf.TensorSpec([1], tf.string)]
    graph = tf.function(answer, input_signature=signature, autograph=False)
    traced = functools.cache(graph.get_concrete_function)
    return lambda number: traced()(questions[number]).numpy()


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.divide(vectors, np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


def table(systems: Mapping[str, System], times: Mapping[str, Times]) -> str:
    """Markdown of one corpus: each system, and the ratios that are asked for."""
    lines = [
        f"| system | ms | of {DPR} | of {LATE} | bytes |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, system in systems.items():
        own = times[name]
        to_dpr, to_late = own.ratio(times[DPR]), own.ratio(times[LATE])
        numbers = f"{own.quantile(0.5):.2f} | {to_dpr:.2f} | {to_late:.2f}"
        lines.append(f"| {name} | {numbers} | {system.bytes_per_candidate:,.0f} |")
    lines += ["", "| asked for | latency | at most | bytes | at most |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for asked in ASKED:
        latency = times[asked.of].ratio(times[asked.to])
        stored = systems[asked.of].bytes_per_candidate / systems[asked.to].bytes_per_candidate
        most = "" if asked.stored is None else f"{asked.stored}"
        cells = f"{latency:.3f} | {asked.latency} | {stored:.3f} | {most}"
        lines.append(f"| {asked.of}: of {asked.to} | {cells} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures every corpus, and prints its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="turns of 20 (15)")
    parser.add_argument("--candidates", type=int, action="append", metavar="N")
    options = parser.parse_args(arguments)
    for num_candidates in options.candidates or SIZES:
        systems = systems_of(num_candidates, Sizes())
        asked = {name: system.ask for name, system in systems.items()}
        clock = CLOCKS["processor"]
        times = measure(asked, num_queries=_QUESTIONS, rounds=options.rounds, clock=clock)
        sys.stdout.write(f"{num_candidates:,} candidates\n\n{table(systems, times)}\n\n")
        sys.stdout.flush()


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    main()
