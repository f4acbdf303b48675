from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from tfrs_twotower.config import FittingConfig, ModelConfig, PreRankingConfig
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.tasks.build import build_list_terms, build_terms
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers.tower import PairScorer


def terms_of(kind, augmented=None, **terms):
    fitting = parse(FittingConfig, {"terms": terms}, "test", ConfigError)
    model = TypeAdapter(ModelConfig).validate_python({"kind": kind})
    augmented = augmented or (kind == "dat",) * 2
    towers = SimpleNamespace(
        query=SimpleNamespace(has_augmented=augmented[0]),
        candidate=SimpleNamespace(has_augmented=augmented[1]),
        scorer=PairScorer(WeightMaker(0)),
    )
    built = build_terms(fitting, model, towers, RetrievalTask())
    return {term.name: term.weight for term in built}


def test_towers_bring_their_own_terms():
    assert terms_of("plain") == {}
    assert terms_of("dat") == {"mimic_query": 0.5, "mimic_candidate": 0.5}
    assert terms_of("inttower") == {"interaction": 1.0}
    assert terms_of("inttower", augmented=(False, True)) == {
        "mimic_candidate": 0.5,
        "interaction": 1.0,
    }


def test_a_side_without_learned_vectors_has_no_mimic_term():
    assert terms_of("dat", augmented=(False, True)) == {"mimic_candidate": 0.5}


def test_weights_come_from_the_config_and_zero_leaves_a_term_out():
    assert terms_of("dat", mimic={"query_weight": 2.0, "candidate_weight": 0.0}) == {
        "mimic_query": 2.0
    }
    terms = {
        "dual": {"weight": 0.3},
        "multi_view": {"weight": 0.2},
        "category_alignment": {"feature": "genre", "weight": 0.4},
        "interaction": {"weight": 0.5},
        "contrastive_interaction": {"weight": 0.6},
    }
    assert terms_of("inttower", **terms) == {name: term["weight"] for name, term in terms.items()}


def test_terms_over_lists():
    def of(**weights):
        config = PreRankingConfig(list_terms=weights)
        return {term.name: term.weight for term in build_list_terms(config)}

    assert of() == {"list_softmax": 1.0}
    weights = {"list_softmax": 0.0, "pointwise": 0.1, "listwise_kl": 0.2, "margin_mse": 0.3}
    assert of(**weights) == {name: weight for name, weight in weights.items() if weight}


@pytest.mark.parametrize("weight", [-1.0])
def test_negative_weights_are_refused(weight):
    with pytest.raises(ConfigError, match=r"terms\.dual\.weight"):
        terms_of("plain", dual={"weight": weight})
