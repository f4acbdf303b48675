"""Random labels with a refit: whatever is printed, gated or chosen by must lie at chance.

Users' items are drawn at random, so nothing can be learned that holds for other events, and a
figure above chance was measured on what the model has learned. The refit learns the validation
window by heart, which the last test shows.
"""

import csv
import json
import random
import re

import numpy as np
import pytest

from pipelines.stages.context import StageContext
from pipelines.stages.sequence import STAGES, run_stages
from serving.bundle.loading import load_bundle
from serving.bundle.measures import measure_model
from tests.fixtures.recorder import Recorder
from tfrs_twotower.artifacts import Layout, read_manifest
from tfrs_twotower.config import RunConfig
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.data.stored_embeddings import read_candidate_embeddings
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import ConfigError, FeatureSpecError
from tfrs_twotower.specs import FeatureSpec

pytestmark = pytest.mark.e2e
NUM_USERS, NUM_ITEMS, NUM_TRAINED, NUM_HELD_OUT, K = 240, 50, 8, 2, 10
WORDS = [f"{first}{second}" for first in ("ba", "do", "ki", "lu") for second in ("na", "re", "ti")]
TEXT = {"kind": "text", "vocabulary_size": 64, "max_tokens": 8}
SPEC = {
    "name": "random",
    "interactions": {
        "path": "events.csv",
        "query_id": "user",
        "candidate_id": "item",
        "timestamp": {"column": "ts", "unit": "s"},
    },
    "queries": {"path": "users.csv", "id": "user"},
    "candidates": {"path": "items.csv", "id": "item", "title": "words"},
    "query": {
        "features": [
            {"name": "user", "kind": "id"},
            {"name": "history", "kind": "history", "max_length": 8},
            {"name": "wish", **TEXT},
        ]
    },
    "candidate": {"features": [{"name": "item", "kind": "id"}, {"name": "words", **TEXT}]},
    "split": {"kind": "per_query_last", "test": NUM_HELD_OUT, "validation": NUM_HELD_OUT},
}
STOPPING = {"metric": f"recall@{K}", "patience": 3}
OPTIMIZER = {"kind": "adamw", "learning_rate": 0.03}
MEMBER = {
    "kind": "inttower",
    "embedding_dim": 8,
    "num_query_heads": 1,
    "num_candidate_heads": 1,
    "head_dim": 8,
    "interaction_layers": "last",
}
CONFIG = {
    "name": "random",
    "spec": "spec.yaml",
    "seed": 1,
    "preprocess": {"num_shards": 1},
    "embed": {"num_shards": 1},
    "model": {"embedding_dim": 32},
    "training": {
        "batch_size": 240,
        "epochs": 6,
        "optimizer": OPTIMIZER,
        "early_stopping": STOPPING,
        "refit": True,
    },
    "pre_ranking": {
        "num_candidates": 30,
        "models": [MEMBER],
        "ease": {"rank": 8},
        "mining": {"depth": 5},
        "list_size": 2,
        "popularity_days": [None],
        "batch_size": 240,
        "epochs": 2,
        "optimizer": OPTIMIZER,
        "early_stopping": STOPPING,
    },
    "index": {"kind": "ivf", "k": K},
    "export": {"k": K, "allowed_batch_sizes": [1], "max_excluded": 12},
    "evaluate": {
        "ks": [K],
        "num_bootstrap": 20,
        "num_example_queries": 0,
        "ease_lambda": 100,
        "item_knn_neighbours": 10,
    },
}
FIGURE = re.compile(rf"recall@{K} (\d\.\d+)")


def write(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A finished run on the random tables, with what it said."""
    root, numbers = tmp_path_factory.mktemp("random"), random.Random(5)
    items = [f"i{number:02d}" for number in range(NUM_ITEMS)]
    events = []
    for number in range(NUM_USERS):
        drawn = numbers.sample(items, NUM_TRAINED + 2 * NUM_HELD_OUT)
        events += [
            (f"u{number}", item, 1_700_000_000 + 1000 * at + number)
            for at, item in enumerate(drawn)
        ]
    write(root / "events.csv", ("user", "item", "ts"), events)
    texts = {name: " ".join(numbers.choices(WORDS, k=3)) for name in items}
    write(root / "items.csv", ("item", "words"), texts.items())
    wishes = [(f"u{number}", " ".join(numbers.choices(WORDS, k=3))) for number in range(NUM_USERS)]
    write(root / "users.csv", ("user", "wish"), wishes)
    context = StageContext(
        Layout(root / "work"),
        parse(FeatureSpec, SPEC, "spec", FeatureSpecError),
        parse(RunConfig, CONFIG, "run", ConfigError),
        root,
        Recorder(),
    )
    context.layout.root.mkdir()
    run_stages(context, STAGES)
    return context


def at_chance(value, num_seen):
    """Within three standard errors of k / candidates that are left; the hypergeometric variance."""
    left = NUM_ITEMS - num_seen
    chance = K / left
    variance = chance * (1 - chance) / NUM_HELD_OUT * (left - NUM_HELD_OUT) / (left - 1)
    return abs(value - chance) <= 3 * np.sqrt(variance / NUM_USERS)


def on_validation(value):
    return at_chance(value, NUM_TRAINED)


def details(context, kind):
    return read_manifest(context.layout.root / kind, kind).details


def test_printed_figures_lie_at_chance(world):
    said = [line for line in world.reporter.messages if "@" in line]
    figures = {line: [float(found) for found in FIGURE.findall(line)] for line in said}
    kinds = ("epoch ", "Kept the weights", "On validation, out of fold", "wrote ")
    for kind in kinds:
        assert any(line.startswith(kind) and found for line, found in figures.items()), kind
    wrong = {line: found for line, found in figures.items() if not all(map(on_validation, found))}
    assert not wrong
    others = [line for line in said if not figures[line]]
    assert all(
        line.startswith(("ivf index of 50 candidates: overlap@10", "wrote")) for line in others
    )


def test_gated_figures_lie_at_chance(world):
    (version,) = details(world, "bundle")["versions"].values()
    directory = world.layout.bundle / "random" / str(version)
    found = read_manifest(directory, "bundle").details
    measured = found["measures"]
    assert set(measured) == {
        f"{name}@{K}"
        for name in ("first_fit_recall", "overlap", "perturbed_overlap", "coverage",
                     "retrieval_coverage")
    }  # fmt: skip
    assert on_validation(measured[f"first_fit_recall@{K}"])
    assert found["measured_on"] == {
        "first_fit_recall": "240 validation queries, by the first fit, which has not learned them",
        "answers": "240 test queries",
    }


def test_figures_in_manifests_lie_at_chance(world):
    model, pre_ranker = details(world, "model"), details(world, "pre_ranker")
    assert model["refitted"]
    values = [
        model["validation"][f"recall@{K}"],
        *pre_ranker["validation"].values(),
        *(member["validation"][f"recall@{K}"] for member in pre_ranker["members"]),
    ]
    assert len(values) == 4
    assert all(map(on_validation, values)), values
    assert "share_in_list" not in json.dumps(details(world, "negatives"))


def test_the_weight_of_hybrid_is_chosen_at_chance(world):
    report = json.loads((world.layout.report / "evaluation.json").read_text(encoding="utf-8"))
    settings = report["protocol"]["baselines"]["hybrid"]
    values = [choice[f"recall@{K}"] for choice in settings["validation"]]
    assert len(values) == 21
    assert all(map(on_validation, values)), values


def test_the_evaluation_lies_at_chance(world):
    report = json.loads((world.layout.report / "evaluation.json").read_text(encoding="utf-8"))
    means = {
        name: system["metrics"][f"recall@{K}"]["mean"] for name, system in report["systems"].items()
    }
    assert {"retrieval", "cascade", "hybrid", "ease", "popularity"} <= set(means)
    seen = NUM_TRAINED + NUM_HELD_OUT
    assert all(at_chance(mean, seen) for mean in means.values()), means


def test_the_served_model_has_learned_the_validation_queries(world):
    """What a measure of the served model on these queries would print."""
    corpus = load_corpus(world.layout.preprocessed, world.spec)
    queries = load_query_set(world.layout.preprocessed, "validation", world.spec, corpus)
    vectors = read_candidate_embeddings(world.layout.embeddings).vectors
    whole = Corpus(corpus.ids, corpus.titles, {}, vectors)
    bundle = load_bundle(world.layout.bundle / "random")
    recall = measure_model(bundle, queries, whole).values[f"recall@{K}"]
    assert recall > 1.5 * K / (NUM_ITEMS - NUM_TRAINED)
