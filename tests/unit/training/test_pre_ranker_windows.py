"""Which window each part of the pre-ranker may know: weights of the sum, pools, what is served.

The pre-ranker has no trained members here, so that towers of any weights serve. Every law exchanges
one input and compares what is fitted.
"""

import shutil
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tests.fixtures.tiny_files import write_preprocessed
from tests.fixtures.tiny_world import World, plant
from tests.reference import linear_member as oracle
from tfrs_twotower.artifacts.layout import (
    CANDIDATE_SIGNALS,
    CANDIDATE_VECTORS,
    EASE_MEMBER,
    FIRST_FIT_WEIGHTS,
    REFIT_GLOB,
    WEIGHTS,
)
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.storage import read_weights, save_towers, write_weights
from tfrs_twotower.training.pre_ranker_job import PreRankerResult, train_pre_ranker


def spec_of_few_features():
    data = tiny_spec().model_dump(mode="json")
    for side, kept in (("query", ("segment", "history")), ("candidate", ("item_id", "topics"))):
        data[side]["features"] = [f for f in data[side]["features"] if f["name"] in kept]
    return FeatureSpec.model_validate(data)


SPEC = spec_of_few_features()
WORLD = plant(0)


def other_validation_events():
    """The same world, but for the candidates of the validation window."""
    names = [item["item"] for item in WORLD.items]

    def moved(event):
        return replace(event, item=names[(names.index(event.item) * 7 + 3) % 38])

    events = [moved(e) if e.split == "validation" else e for e in WORLD.events]
    return World(WORLD.users, WORLD.items, events)


@dataclass(frozen=True)
class Fitted:
    """A result, and the arrays that are served."""

    result: PreRankerResult
    signals: np.ndarray
    ease: np.ndarray

    def same_combination(self, other):
        return self.result.weights == other.result.weights

    def same_served(self, other):
        return np.array_equal(self.signals, other.signals) and np.array_equal(self.ease, other.ease)


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    """Artifacts by name: `data`, `other_data` (other refit examples), and models of two seeds."""
    root = tmp_path_factory.mktemp("parents")
    write_preprocessed(root / "data", SPEC, WORLD)
    write_preprocessed(root / "changed", SPEC, other_validation_events())
    shutil.copytree(root / "data", root / "other_data")
    for path in (root / "changed").glob(REFIT_GLOB):
        shutil.copy(path, root / "other_data" / path.name)
    assets, model = load_assets(root / "data"), tiny_run_config().model
    (root / "model").mkdir()
    save_towers(build_towers(SPEC, model, assets, seed=1), SPEC, model, assets, root / "model")
    other = build_towers(SPEC, model, assets, seed=2).named_variables()
    write_weights(other, root / "model" / FIRST_FIT_WEIGHTS)
    for name in (WEIGHTS, FIRST_FIT_WEIGHTS):
        copy = shutil.copytree(root / "model", root / f"other_{name.partition('.')[0]}")
        weights = build_towers(SPEC, model, assets, seed=3).named_variables()
        assert read_weights(copy / name).keys() == weights.keys()
        write_weights(weights, copy / name)
    return root


@pytest.fixture(scope="module", params=[False, True], ids=["train", "refit"])
def refit(request):
    return request.param


@pytest.fixture(scope="module")
def fit(parents, refit, tmp_path_factory):
    training = tiny_run_config().training.model_dump(mode="json")
    config = tiny_run_config(
        training={**training, "refit": refit},
        pre_ranking={
            "num_candidates": 15,
            "models": [],
            "ease": {"rank": 40, "l2": 4.0, "half_lives": [None]},
            "popularity_days": [None, 10.0],
        },
    )

    def fitted(data="data", model="model"):
        out = tmp_path_factory.mktemp("pre_ranker")
        section, none = config.pre_ranking, parents / "none"
        result = train_pre_ranker(SPEC, config, section, parents / data, parents / model, none, out)
        return Fitted(
            result,
            np.load(out / CANDIDATE_SIGNALS),
            np.load(out / EASE_MEMBER / CANDIDATE_VECTORS),
        )

    return fitted


@pytest.fixture(scope="module")
def plain(fit):
    return fit()


def test_the_weights_do_not_know_the_validation_examples(plain, fit):
    """They are truth of the pools only: neither EASE nor a signal nor a profile holds them."""
    other = fit(data="other_data")
    assert other.same_combination(plain)
    assert other.result.validation == plain.result.validation


def test_what_is_served_knows_the_validation_examples_after_a_refit_only(plain, fit, refit):
    assert fit(data="other_data").same_served(plain) is not refit


def test_the_pools_come_from_towers_that_have_not_seen_validation(plain, fit, refit):
    """With a refit those of the first fit, although the others are served."""
    learned, not_read = ("first_fit", "weights") if refit else ("weights", "first_fit")
    assert not fit(model=f"other_{learned}").same_combination(plain)
    assert fit(model=f"other_{not_read}").same_combination(plain)


def test_served_signals_and_ease_equal_counts_of_their_window(plain, refit):
    splits = ("train", "validation") if refit else ("train",)
    events = [e for e in WORLD.events if e.split in splits and e.positive]
    names = sorted(item["item"] for item in WORLD.items)
    last_s = max(event.time_s for event in events)
    recent = [event for event in events if event.time_s > last_s - 10 * 86_400]
    for column, window in enumerate((events, recent)):
        counts = Counter(event.item for event in window)
        expected = np.log1p([counts[name] for name in names])
        np.testing.assert_allclose(plain.signals[:, column], expected, rtol=1e-6)
    users = sorted(user["user"] for user in WORLD.users)
    pairs = {(users.index(event.user), names.index(event.item)) for event in events}
    weights = oracle.ease(oracle.chosen_matrix(pairs, len(users), len(names)), 4.0)
    # At full rank the products of EASE's two vectors are its weights, so the candidates' vectors
    # span what the weights span: nothing where a candidate has no event.
    unknown = ~weights.any(axis=0)
    np.testing.assert_array_equal(~plain.ease.any(axis=1), unknown)
    assert 0 < unknown.sum() < len(names)
