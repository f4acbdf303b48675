"""Ids that first appear in the validation window: a refit knows them, and nothing before it does.

Queries are of six groups, each of which chooses three candidates in training and then a new one:
half of its queries in the validation window, the other half in the test window. One more candidate
appears in the test window alone, and one query in the validation window first.
"""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from pipelines.stages import build_index, embed, export, mine, preprocess, train, train_pre_ranker
from serving.bundle.loading import load_bundle
from tests.fixtures.asking import answers
from tests.fixtures.window_worlds import NUM_GROUPS, NUM_QUERIES, WindowWorld, world_context
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.artifacts.layout import (
    EASE_MEMBER,
    FIRST_FIT_WEIGHTS,
    FRESH_IDS,
    VOCABULARIES,
    WEIGHTS,
)
from tfrs_twotower.config import RunConfig
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.specs import UNKNOWN_ROW, FeatureSpec
from tfrs_twotower.towers.storage import load_towers
from tfrs_twotower.training.train import train_on_artifact
from tfrs_twotower.training.validation import rank

pytestmark = pytest.mark.integration
FRESH, LATE = 54, 60
"""Places of the new candidate of the first group, those of others follow, and of the late one."""
NEWCOMER = 239


def events():
    """Events `(query, candidate, window)` in the order of time."""
    found = {"train": [], "validation": [], "test": [(0, LATE, "test")]}
    for query in np.random.default_rng(0).permutation(NUM_QUERIES).tolist():
        group = query % NUM_GROUPS
        for candidate in range(3 * group, 3 * group + 3):
            window = "validation" if query == NEWCOMER else "train"
            found[window].append((query, candidate, window))
        window = "test" if query % (2 * NUM_GROUPS) < NUM_GROUPS else "validation"
        found[window].append((query, FRESH + group, window))
    return [event for own in found.values() for event in own]


def context_of(directory):
    """A run with a refit on histories and ids alone; every candidate may be found."""
    context = world_context(directory, refit=True)
    spec, config = (part.model_dump(mode="json") for part in (context.spec, context.config))
    for side in ("query", "candidate"):
        spec[side]["features"] = [f for f in spec[side]["features"] if f["kind"] != "numeric"]
    spec["split"] |= {"known_queries_only": False, "known_candidates_only": False}
    config["training"]["early_stopping"] = None
    config["pre_ranking"] |= {
        "models": [
            {"kind": "inttower", "embedding_dim": 8, "num_query_heads": 2, "num_candidate_heads": 2}
        ],
        "mining": {"depth": 10, "teacher": "ease"},
        "list_size": 4,
        "batch_size": 64,
        "epochs": 1,
        "item_knn": {"neighbours": 20},
    }
    config["export"] |= {"k": 10, "allowed_batch_sizes": [1], "bundles": [{"name": "windows"}]}
    return replace(
        context, spec=FeatureSpec.model_validate(spec), config=RunConfig.model_validate(config)
    )


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fresh")
    WindowWorld("none", events()).write(directory)
    context = context_of(directory)
    for stage in (preprocess, train):
        stage.run(context)
    return context


@pytest.fixture(scope="module")
def without(context, tmp_path_factory):
    """The model of the same data without the new ids, and the result of its training."""
    directory = tmp_path_factory.mktemp("without")
    shutil.copytree(context.layout.preprocessed, directory / "preprocessed")
    shutil.rmtree(directory / "preprocessed" / FRESH_IDS)
    (directory / "model").mkdir()
    result = train_on_artifact(
        directory / "preprocessed",
        spec=context.spec,
        config=context.config,
        output_dir=directory / "model",
    )
    return directory / "model", result


def rows_of(model_dir, weights):
    """Rows of the id table of the candidates that are new, and of one that is not."""
    tower = load_towers(model_dir, weights).candidate
    ids = [f"c{place:03d}" for place in (FRESH, LATE, 0)]
    return tower.inputs({"candidate": tf.constant(ids)})["candidate"].numpy().tolist()


def test_vocabularies_are_of_both_windows_and_their_first_part_of_training(context):
    layout = context.layout
    for directory in (layout.preprocessed, layout.model):
        assets = load_assets(directory)
        assert assets.num_fresh == {"candidate": NUM_GROUPS, "query": 1}
        fresh = [f"c{FRESH + group:03d}" for group in range(NUM_GROUPS)]
        assert sorted(assets.vocabulary("candidate")[-NUM_GROUPS:]) == fresh
        assert assets.vocabulary("query")[-1] == f"q{NEWCOMER:03d}"
        assert f"c{LATE:03d}" not in assets.vocabulary("candidate")
        first = (directory / VOCABULARIES / "candidate.txt").read_text().splitlines()
        assert assets.of_first_fit().vocabulary("candidate") == first
        assert not set(fresh) & set(first)


def test_the_refit_alone_knows_them_and_nothing_knows_the_test_window(context):
    model_dir = context.layout.model
    fresh, late, known = rows_of(model_dir, WEIGHTS)
    assert late == UNKNOWN_ROW < known < fresh
    assert rows_of(model_dir, FIRST_FIT_WEIGHTS) == [UNKNOWN_ROW, UNKNOWN_ROW, known]


def test_the_first_fit_does_not_depend_on_them(context, without):
    model_dir, result = without
    layout = context.layout
    own, other = (directory / FIRST_FIT_WEIGHTS for directory in (layout.model, model_dir))
    assert own.read_bytes() == other.read_bytes()
    assert read_manifest(layout.model, "model").details["validation"] == result.validation
    assert rows_of(model_dir, WEIGHTS)[:2] == [UNKNOWN_ROW, UNKNOWN_ROW]


def found_share(context, model_dir, weights=WEIGHTS):
    """Share of the test queries that find the new candidate of their group first."""
    layout, spec = context.layout, context.spec
    corpus = load_corpus(layout.preprocessed, spec)
    queries = load_query_set(layout.preprocessed, "test", spec, corpus)
    towers = load_towers(model_dir, weights)
    vectors = [
        tower({name: tf.constant(values) for name, values in raw.items()}).numpy()
        for tower, raw in ((towers.query, queries.inputs), (towers.candidate, corpus.raw))
    ]
    groups = [int(name[1:]) % NUM_GROUPS for name in queries.ids]
    new = corpus.row_of([f"c{FRESH + group:03d}" for group in groups])
    assert len(new) == NUM_QUERIES / 2
    return float((rank(*vectors, queries, 1)[:, 0] == new).mean())


def test_test_queries_find_what_the_validation_window_taught(context, without):
    assert found_share(context, context.layout.model) > 0.9
    assert found_share(context, context.layout.model, FIRST_FIT_WEIGHTS) < 0.2
    assert found_share(context, without[0]) < 0.2


@pytest.mark.slow
def test_the_cascade_and_the_bundle_know_what_the_refit_knows(context):
    for stage in (embed, build_index, mine, train_pre_ranker, export):
        stage.run(context)
    layout, name = context.layout, f"c{FRESH:03d}"
    for member in ("member-0", EASE_MEMBER, "item_knn"):
        assert name in load_assets(layout.pre_ranker / member).vocabulary("candidate")
    bundle = load_bundle(layout.bundle / "windows")
    corpus = load_corpus(layout.preprocessed, context.spec)
    queries = load_query_set(layout.preprocessed, "test", context.spec, corpus)
    towers = load_towers(layout.model)
    candidates = towers.candidate({key: tf.constant(all_) for key, all_ in corpus.raw.items()})
    after_new, after_unknown = (first_event(queries.inputs, place) for place in (FRESH, LATE))
    scores = [
        towers.query({key: tf.constant(values) for key, values in raw.items()}).numpy()
        @ candidates.numpy().T
        for raw in (after_new, after_unknown)
    ]
    assert np.abs(scores[0] - scores[1]).max() > 0.1
    served = answers(bundle, "candidate_generation", after_new)
    rows = corpus.row_of([name.decode() for name in served["candidate_ids"].ravel()])
    expected = np.take_along_axis(scores[0], rows.reshape(served["scores"].shape), axis=1)
    np.testing.assert_allclose(served["scores"], expected, atol=1e-5)


def first_event(inputs, place):
    """The queries, as if each had just chosen a candidate."""
    history = inputs["history"].copy()
    history[:, 0] = f"c{place:03d}".encode()
    return {**inputs, "history": history}
