import numpy as np
import pytest
import tensorflow as tf

from tests.unit.training.toy import head_towers
from tfrs_twotower import TowerPair, build_towers, declare_features, embed, evaluate, train
from tfrs_twotower.config import DatConfig, OptimizerConfig, PlainTowerConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.errors import ConfigError, TrainingError
from tfrs_twotower.keras_api import keras
from tfrs_twotower.specs import IdFeature
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.training.reports import StepReport

COUNT = 40
QUERIES = [f"q{i:02d}" for i in range(COUNT)]
CANDIDATES = [f"c{i:02d}" for i in range(COUNT)]
FAST = OptimizerConfig(learning_rate=0.05, warmup_steps=0)


def planted(nested, batch_size=64):
    """Each query likes the candidates of its own half."""
    random = np.random.default_rng(3)
    queries = random.integers(0, COUNT, 3000)
    candidates = random.integers(0, COUNT // 2, 3000) + queries // 20 * 20
    query = {"query_id": np.array(QUERIES)[queries]}
    candidate = {"candidate_id": np.array(CANDIDATES)[candidates]}
    columns = {"query": query, "candidate": candidate} if nested else query | candidate
    return tf.data.Dataset.from_tensor_slices(columns).batch(batch_size)


def tables():
    def table(values):
        lookup = keras.layers.StringLookup(vocabulary=values)
        return keras.Sequential([lookup, keras.layers.Embedding(COUNT + 1, 8)])

    return TowerPair(
        table(QUERIES),
        table(CANDIDATES),
        query_inputs=tf.TensorSpec([None], tf.string, name="query_id"),
        candidate_inputs=tf.TensorSpec([None], tf.string, name="candidate_id"),
    )


def built(config):
    declared = declare_features([IdFeature(name="query_id")], [IdFeature(name="candidate_id")])
    assets = Assets({"query_id": QUERIES, "candidate_id": CANDIDATES})
    return build_towers(declared, config, assets, seed=1)


def precision(towers):
    """Of the first ten, over queries; 0.5 is chance."""
    relevant = [np.arange(20) + i // 20 * 20 for i in range(COUNT)]
    queries = embed(towers.query_tower, {"query_id": QUERIES})
    candidates = embed(towers.candidate_tower, {"candidate_id": CANDIDATES})
    return evaluate(queries, candidates, relevant, ks=(10,))["precision@10"].mean


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("kind", ["own", "built"])
def test_trains_in_place_from_both_forms_of_a_batch(kind, nested):
    towers = tables() if kind == "own" else built(PlainTowerConfig(embedding_dim=8))
    before = precision(towers)
    reports: list[StepReport] = []
    result = train(
        planted(nested),
        towers=towers,
        task=RetrievalTask(temperature=1.0 if kind == "own" else 0.1),
        optimizer=FAST,
        epochs=3,
        candidate_id="candidate_id",
        query_id="query_id",
        report=reports.append,
    )
    assert before < 0.75 < 0.95 < precision(towers)
    assert (result.steps, result.num_examples, result.batch_size) == (141, 3000, 64)
    assert [report.step for report in reports] == list(range(1, 142))
    assert (reports[-1].total_steps, reports[-1].epoch) == (141, 3.0)
    assert reports[-1].losses.keys() == {"loss", "retrieval", "gradient_norm"}
    assert reports[0].losses["loss"] > reports[-1].losses["loss"]


def test_the_rate_warms_up_and_decays_over_the_known_steps():
    rates = []
    decaying = OptimizerConfig(learning_rate=0.1, warmup_steps=2, decay="cosine")
    train(
        planted(False, 1000),
        towers=tables(),
        optimizer=decaying,
        report=lambda report: rates.append(report.learning_rate),
    )
    assert rates == pytest.approx([0.05, 0.1, 0.0])
    unknown = planted(False).filter(lambda batch: True)
    with pytest.raises(ConfigError, match=r"optimizer\.decay is cosine.*assert_cardinality"):
        train(unknown, towers=tables(), optimizer=decaying)
    assert train(unknown, towers=tables(), optimizer=FAST).steps == 47


def test_divergence_is_told_by_its_step():
    endless = OptimizerConfig(learning_rate=1e30, warmup_steps=0, clip_norm=None)
    with pytest.raises(TrainingError, match=r"diverged at step [23]: .* Lower optimizer"):
        train(planted(False), towers=tables(), optimizer=endless)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (planted(False).repeat(), r"never ends; say how many batches it has with \.take"),
        (planted(False).take(0), "the dataset is empty"),
        (planted(False).map(lambda batch: (batch, 1.0)), "an element of the dataset tuple"),
    ],
)
def test_datasets_that_cannot_be_read(data, message):
    with pytest.raises(ValueError, match=message):
        train(data, towers=tables())


def test_an_id_that_the_batch_lacks():
    with pytest.raises(ValueError, match=r"has no 'movie', which is to identify its records"):
        train(planted(True), towers=tables(), candidate_id="movie")


def test_towers_that_need_a_corpus_or_have_no_weights():
    for towers in (head_towers(), built(DatConfig(kind="dat", embedding_dim=8))):
        with pytest.raises(TrainingError, match=r"found (IntTowers|Towers), which learn from"):
            train(planted(False), towers=towers)
    string = tf.TensorSpec([None], tf.string, name="query_id")
    bare = TowerPair(
        lambda ids: tf.one_hot(tf.strings.length(ids), 4),
        lambda ids: tf.one_hot(tf.strings.length(ids), 4),
        query_inputs=string,
        candidate_inputs=string,
    )
    with pytest.raises(TrainingError, match="found no weights in the towers"):
        train(planted(False), towers=bare)
