"""Ten thousand random requests with exclusions and restricts, and what exact search answers."""

from dataclasses import dataclass

import numpy as np

from tests.contracts.searcher_contract import unit_vectors
from tests.reference.search import passes
from tfrs_twotower.index.restricts import CandidateAttributes

NUM_CANDIDATES, DIM, K, BATCH = 90, 8, 7, 500
GENRES = ["Comedy", "Drama", "a=b", "日本", "Film,Noir"]
HOSTILE = ["", "", "", "genres", "=", "genres=", "colour=Red", "year=Comedy", "genres=Comed"]


@dataclass(frozen=True)
class Cases:
    vectors: np.ndarray
    attributes: CandidateAttributes
    batches: list[dict[str, np.ndarray]]
    """Each: `queries`, `excluded`, `allow`, `deny`, `allowed` (bool `[batch, num_candidates]`),
    `rows` (`[batch, K]`, the exact answer)."""


def make_cases(num_batches: int = 20) -> Cases:
    rng = np.random.default_rng(0)
    vectors = unit_vectors(NUM_CANDIDATES, DIM, 1)
    held = [
        {
            "genres": [*rng.choice([*GENRES, ""], 3)],
            "year": [str(rng.integers(1990, 1996))],
            "id": [f"c{row}"],
        }
        for row in range(NUM_CANDIDATES)
    ]
    attributes = CandidateAttributes(
        {
            "genres": np.array([[v.encode() for v in one["genres"]] for one in held], object),
            "year": np.array([one["year"][0].encode() for one in held], object),
            "id": np.array([one["id"][0].encode() for one in held], object),
        }
    )
    tokens = [
        *(f"genres={name}" for name in GENRES),
        *(f"year={year}" for year in range(1990, 1997)),
        *(f"id=c{row}" for row in range(0, NUM_CANDIDATES, 9)),
    ]
    batches = []
    for number in range(num_batches):
        queries = unit_vectors(BATCH, DIM, 2 + number)
        widths = rng.integers(1, 9, 2)
        allow, deny = (_tokens(rng, tokens, width) for width in widths)
        excluded = rng.integers(-1, NUM_CANDIDATES, (BATCH, rng.integers(1, 60)))
        excluded[rng.random(BATCH) < 0.3] = -1
        allowed = np.array(
            [[passes(one, a, d) for one in held] for a, d in zip(allow, deny, strict=True)]
        )
        for line, banned in zip(allowed, excluded, strict=True):
            line[banned[banned >= 0]] = False
        scores = np.where(allowed, queries.astype(np.float64) @ vectors.T, -np.inf)
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        rows = np.where(np.isinf(np.take_along_axis(scores, rows, 1)), -1, rows)
        batches.append(
            {
                "queries": queries,
                "excluded": excluded.astype(np.int32),
                "allow": np.array(allow),
                "deny": np.array(deny),
                "allowed": allowed,
                "rows": rows,
            }
        )
    return Cases(vectors, attributes, batches)


def _tokens(rng: np.random.Generator, tokens: list[str], width: int) -> list[list[str]]:
    """A request's tokens: half name nothing, others a few, now and then something hostile."""
    lines = []
    for _ in range(BATCH):
        line = [""] * width
        if rng.random() < 0.5:
            for place in range(1, width):
                chance = rng.random()
                if chance < 0.4:
                    line[place] = tokens[rng.integers(len(tokens))]
                elif chance < 0.43:
                    line[place] = HOSTILE[rng.integers(len(HOSTILE))]
        lines.append(line)
    return lines
