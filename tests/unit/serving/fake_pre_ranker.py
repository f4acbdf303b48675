"""A pre-ranker without training, for the corpus of `fakes`: heads are looked up in fixed tables."""

from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from tests.unit.serving import fakes
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.config import ColdConfig, MolConfig
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.cold import ColdScorer
from tfrs_twotower.towers.lexical_member import FEATURES, LexicalMember
from tfrs_twotower.towers.linear_member import LinearMember
from tfrs_twotower.towers.mol import MolScorer
from tfrs_twotower.towers.pre_ranker import Combination, Member, PreRanker
from tfrs_twotower.towers.taste_member import TasteMember
from tfrs_twotower.towers.tower import PairScorer, TowerOutput

NUM_CANDIDATES = len(fakes.IDS)
WEIGHTS = (0.5, 1.0, -0.7, 0.3, -0.2, 0.1, -0.4)
"""Of retrieval, two members, two half-lives, two signals."""
LEXICAL_WEIGHTS = (*WEIGHTS[:5], 0.9, -0.5, 0.6, 0.8, *WEIGHTS[5:])
"""With two tastes and both scores of BM25."""
COLOURS = ("red", "green", "blue", "red red")


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class FakeHeadTower(tf.Module):
    """Heads of the query's number, modulo 25; NaN where it is missing."""

    def __init__(self, seed, num_heads, dim):
        super().__init__(name="fake_head_tower")
        self.table = tf.Variable(normal(seed, 25, num_heads, dim), trainable=False)

    def inputs(self, raw):
        return raw

    def encode(self, raw):
        missing = tf.math.is_nan(raw["size"])
        number = tf.where(missing, 0.0, raw["size"])
        heads = tf.gather(self.table, tf.cast(tf.math.floormod(number, 25.0), tf.int32))
        return TowerOutput(None, heads=tf.where(missing[:, None, None], float("nan"), heads))


class FakeHistory(tf.Module):
    """Tokens of `recent`: 2 + the number of the candidate."""

    features = (SimpleNamespace(name="recent"),)

    def __call__(self, raw):
        names = tf.where(raw["recent"] == "", "c-2", raw["recent"])
        return {"recent": tf.strings.to_number(tf.strings.substr(names, 1, 9), tf.int32) + 2}


def fake_member(seed, num_heads, num_candidate_heads, dim, scorer=None):
    scorer = scorer or PairScorer(WeightMaker(0))
    scorer.set_scale(1.0 + 0.1 * seed)
    for variable in scorer.variables:
        if variable.name == "bias:0":
            variable.assign(0.25 * seed)
    towers = SimpleNamespace(query=FakeHeadTower(seed, num_heads, dim), scorer=scorer)
    heads = normal(100 + seed, NUM_CANDIDATES, num_candidate_heads, dim)
    return Member(towers, tf.constant(heads))


def fake_lexical():
    """BM25 of the query's `color`, taken as a text, and of a title; every fifth has none."""
    data = fakes.fake_spec().model_dump(mode="json")
    text = {"kind": "text", "vocabulary": "words"}
    data["query"]["features"] = [{"name": "color", **text}]
    data["candidate"]["features"].append({"name": "name", **text})
    titles = [
        f"{COLOURS[row % 4]} hat number{row % 7}" if row % 5 else ""
        for row in range(NUM_CANDIDATES)
    ]
    return LexicalMember(
        parse(FeatureSpec, data, "fake_lexical", FeatureSpecError),
        build_postings(titles, k1=1.2, b=0.75),
    )


def fake_tastes():
    """Of two features: one of four values, of which a candidate has up to two, and one of 30."""
    random = np.random.default_rng(10)
    values = random.integers(0, 5, (2 + NUM_CANDIDATES, 3)).astype(np.int32)
    values[:, 2] = random.integers(5, 35, len(values))
    values[:2] = 0
    priors = random.uniform(0.1, 1.0, 35).astype(np.float32)
    columns = np.array([0, 0, 1])
    return TasteMember(
        FakeHistory(), ("colour", "brand"), 3.0, values, columns, priors, values[2:][::-1]
    )


def fake_mixture(seed):
    """Two query heads, three candidate heads, and six gates in two rows of four."""
    heads = {"num_residual_layers": 0, "num_query_heads": 2, "num_candidate_heads": 3}
    config = MolConfig(kind="mol", head_dim=4, **heads)
    return fake_member(seed, 2 + 2, 3 + 2, 4, MolScorer(WeightMaker(0), config))


def fake_network(seed):
    """Two query heads, three candidate heads, and a network over them."""
    heads = {"num_residual_layers": 0, "num_query_heads": 2, "num_candidate_heads": 3}
    config = ColdConfig(kind="cold", head_dim=4, cross_dims=(5, 3), **heads)
    scorer = ColdScorer(WeightMaker(0), config)
    for number, variable in enumerate(scorer.variables):
        if variable.shape.rank:
            variable.assign(normal(number, *variable.shape))
    return fake_member(seed, 2, 3, 4, scorer)


FIRST_MEMBERS = {
    "inttower": lambda: fake_member(1, 2, 3, 4),
    "mol": lambda: fake_mixture(1),
    "cold": lambda: fake_network(1),
}


def fake_pre_ranker(
    num_candidates=12, weights=WEIGHTS, linear=True, lexical=False, first="inttower"
):
    """Members, signals, EASE of two half-lives if `linear`, tastes and BM25 if `lexical`.

    `first` is the kind of the first member.
    """
    ease = None
    if lexical and weights is WEIGHTS:
        weights = LEXICAL_WEIGHTS
    if linear:
        history, candidates = normal(7, 2 + NUM_CANDIDATES, 5), normal(8, NUM_CANDIDATES, 5)
        history[0] = 0.0
        ease = LinearMember(FakeHistory(), (None, 2.0), history, candidates)
    else:
        weights = (*weights[:3], *weights[5:])
    tastes = fake_tastes() if lexical else None
    others = (*tastes.features, *FEATURES) if lexical else ()
    names = ("retrieval", "interaction_0", "interaction_1", *(ease.features if ease else ()))
    return PreRanker(
        (FIRST_MEMBERS[first](), fake_member(2, 1, 1, 6)),
        Combination(num_candidates, (*names, *others, "log_count", "log_count_7d"), weights),
        tf.constant(normal(9, NUM_CANDIDATES, 2)),
        ease,
        tastes,
        lexical=fake_lexical() if lexical else None,
    )
