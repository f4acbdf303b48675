"""A daily training: what it learns, what it starts from, and what it must not know."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.stages import train as stage
from pipelines.stages.context import StageContext
from tests.fixtures.recorder import Recorder
from tests.fixtures.tiny import tiny_run_config, tiny_spec, write_tiny_preprocessed
from tfrs_twotower.artifacts import Layout, commit, read_manifest
from tfrs_twotower.artifacts.writing import ManifestFields
from tfrs_twotower.config import DailyConfig
from tfrs_twotower.data.assets import Assets, load_assets
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.specs import NUM_SPECIAL_ROWS
from tfrs_twotower.towers import storage
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.training import warm_start
from tfrs_twotower.training.job import Job
from tfrs_twotower.training.retrieval_job import RetrievalJob
from tfrs_twotower.training.warm_start import WarmStart


def table_of(queries, candidates, times):
    ids, rows = np.unique(np.array(queries, object), return_inverse=True)
    ones = np.ones(len(times), np.float32)
    return ExampleTable(
        tokens={"position": np.arange(len(times), dtype=np.int32)},
        query_ids=ids,
        query_rows=rows.astype(np.int32),
        candidate_rows=np.array(candidates, np.int32),
        timestamps=np.array(times, np.int64),
        weights=ones,
    )


def test_a_key_is_of_the_ids_and_the_time_and_of_nothing_else():
    corpus = np.array(["a", "b"], object)
    keys = warm_start.example_keys(
        table_of([b"q", b"q", b"r", b"q"], [0, 1, 0, 0], [7, 7, 7, 8]), corpus
    )
    assert len(set(keys.tolist())) == 4
    other = warm_start.example_keys(table_of([b"r", b"q"], [1, 0], [7, 8]), corpus[::-1])
    assert other[0] == keys[2]
    assert other[1] not in keys.tolist()
    again = warm_start.example_keys(table_of([b"z", b"r"], [0, 0], [1, 7]), corpus)
    assert again[1] == keys[2]


def start_in(directory, learned, **settings):
    warm_start.write_keys(np.array(learned, np.uint64), directory / warm_start.LEARNED)
    return WarmStart(directory, DailyConfig(**settings), refitted=False)


def test_what_is_new_is_learned_with_a_sample_of_the_rest(tmp_path):
    start = start_in(tmp_path, range(100), replay=3)
    keys = np.arange(90, 110, dtype=np.uint64)  # ten of them are new
    positions, num_new = start.choose(keys, refit=False, least=0, seed=1)
    assert num_new == 10
    assert positions.tolist() == sorted(set(positions.tolist()))
    assert set(range(10, 20)) <= set(positions.tolist())
    assert len(positions) == 20  # thirty others were wanted, ten there are
    few = start_in(tmp_path, range(109), replay=3).choose(keys, refit=False, least=0, seed=1)
    assert (len(few[0]), few[1]) == (4, 1)
    none = start_in(tmp_path, range(200)).choose(keys, refit=False, least=8, seed=1)
    assert (len(none[0]), none[1]) == (8, 0)  # a batch has to be full


class Groups:
    """Examples whose groups are tens, and whose batches are their positions."""

    groups = np.array([0, 10, 20, 30])

    def __len__(self):
        return 4

    def batch(self, positions, step):
        return {"positions": positions.tolist(), "step": step}


def test_a_part_has_the_examples_at_its_positions():
    part = warm_start.Part(Groups(), np.array([1, 3]))
    assert (len(part), part.groups.tolist()) == (2, [10, 30])
    assert part.batch(np.array([1, 0]), 7) == {"positions": [3, 1], "step": 7}
    whole = warm_start.Part(table_of([b"q"], [0], [1]), np.array([0]))
    assert whole.groups is None


def context_of(root, since=None, reporter=None, **training):
    present = tiny_run_config().training.model_dump(mode="json")
    settings = {**present, "epochs": 3, **training}
    config = tiny_run_config(model={"embedding_dim": 4}, training=settings)
    return StageContext(
        Layout(root), tiny_spec(), config, root, reporter or Recorder(), since=since
    )


@pytest.fixture(scope="module")
def refitted(tmp_path_factory):
    """A working directory with a model that was trained twice."""
    root = tmp_path_factory.mktemp("refitted")
    write_tiny_preprocessed(root / "preprocessed")
    stage.run(context_of(root, refit=True))
    return root


def weights_of(root, name):
    return storage.read_weights(root / "model" / name)


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """The model before, untrained: the refit knows two ids that the first fit does not."""
    root = tmp_path_factory.mktemp("before")
    write_tiny_preprocessed(root / "preprocessed")
    assets = load_assets(root / "preprocessed")
    items = [*assets.vocabularies["item_id"], "late-1", "late-2"]
    assets = Assets({**assets.vocabularies, "item_id": items}, assets.statistics, {"item_id": 2})
    model = context_of(root).config.model
    (root / "model").mkdir()
    towers = build_towers(tiny_spec(), model, assets, seed=1)
    storage.save_towers(towers, tiny_spec(), model, assets, root / "model")
    first = build_towers(tiny_spec(), model, assets.of_first_fit(), seed=2)
    storage.write_weights(first.named_variables(), root / "model" / "first_fit.npz")
    for name, keys in ((warm_start.LEARNED, [1, 2, 3]), (warm_start.FIRST_FIT_LEARNED, [1, 2])):
        warm_start.write_keys(np.array(keys, np.uint64), root / "model" / name)
    return root


def test_rows_are_carried_over_by_their_value(before):
    was = load_assets(before / "model")
    items = was.vocabularies["item_id"]
    turned = Assets({**was.vocabularies, "item_id": ["new", *reversed(items)]}, was.statistics)
    towers = build_towers(tiny_spec(), context_of(before).config.model, turned, seed=99)
    fresh = towers.named_variables()["tables.item_id"].numpy()
    start = WarmStart(before / "model", DailyConfig(), refitted=True)
    start.assign(towers, turned, refit=True)
    saved = weights_of(before, "weights.npz")
    now = {name: variable.numpy() for name, variable in towers.named_variables().items()}
    table, first = now.pop("tables.item_id"), NUM_SPECIAL_ROWS
    np.testing.assert_array_equal(table[first + 1 :], saved["tables.item_id"][first:][::-1])
    np.testing.assert_array_equal(table[first], fresh[first])
    for name, values in now.items():
        np.testing.assert_array_equal(values, saved[name], name)
    frozen = DailyConfig(freeze_candidate_tower=True)
    WarmStart(before / "model", frozen, refitted=True).assign(towers, turned, refit=True)
    row = towers.named_variables()["tables.item_id"].numpy()[first]
    np.testing.assert_array_equal(row, saved["tables.item_id"][1])


def test_the_first_fit_goes_on_from_weights_that_know_no_validation_query(before):
    assets = load_assets(before / "model").of_first_fit()
    towers = build_towers(tiny_spec(), context_of(before).config.model, assets, seed=99)
    start = WarmStart(before / "model", DailyConfig(), refitted=True)
    start.assign(towers, assets, refit=False)
    first_fit = weights_of(before, "first_fit.npz")
    for name, variable in towers.named_variables().items():
        np.testing.assert_array_equal(variable.numpy(), first_fit[name], name)
    of_validation = np.array([3], np.uint64)
    assert start.choose(of_validation, refit=False, least=0, seed=1)[1] == 1
    assert start.choose(of_validation, refit=True, least=0, seed=1)[1] == 0


def test_a_weight_that_is_missing_or_of_another_shape_is_named(before):
    other = context_of(before).config.model.model_copy(update={"embedding_dim": 8})
    assets = load_assets(before / "model")
    towers = build_towers(tiny_spec(), other, assets, seed=1)
    start = WarmStart(before / "model", DailyConfig(), refitted=True)
    with pytest.raises(CorruptArtifact, match=r"the weight '.*' is of shape .*Train again"):
        start.assign(towers, assets, refit=True)


def test_a_daily_training_ends_where_it_ends_and_is_measured_on_fewer(tmp_path, monkeypatch):
    """Its rate falls to zero, so that no mean of weights is needed, and no weights are chosen."""
    present = tiny_run_config().training
    training = start_in(tmp_path, [1]).training(present)
    assert not training.average_weights
    assert training.optimizer.decay == "cosine"
    assert training.evaluate_every_epochs == training.epochs
    asked = []
    monkeypatch.setattr(Job, "validation_queries", lambda job: asked.append("all"))

    class Data:
        def validation_queries(self, tower, most, *, seed):
            asked.append((most, seed))

    for start, wide in ((None, None), (object(), None), (object(), object())):
        job = RetrievalJob.__new__(RetrievalJob)
        job._start, job.config, job.seed, job.data = start, present, 7, Data()
        job.model_config = SimpleNamespace(wide=wide)
        job.towers = SimpleNamespace(query=None)
        job.validation_queries()
    assert asked == ["all", (warm_start.MOST_MEASURED, 7), "all"]


def test_a_daily_training_goes_on_and_leaves_a_frozen_tower_alone(refitted, tmp_path):
    root = tmp_path / "daily"
    shutil.copytree(refitted, root)
    keys = np.load(root / "model" / warm_start.LEARNED)
    before = read_manifest(root / "model", "model")
    for name in (warm_start.LEARNED, warm_start.FIRST_FIT_LEARNED):
        known = np.load(root / "model" / name)
        np.save(root / "model" / name, known[: len(known) - 20])
    seal_again(root / "model", before)
    before = read_manifest(root / "model", "model")
    saved = weights_of(root, "weights.npz")
    context = context_of(root, "2026-11-20", refit=True)
    daily = context.config.daily.model_copy(update={"freeze_candidate_tower": True})
    context = StageContext(
        context.layout,
        context.spec,
        context.config.model_copy(update={"daily": daily}),
        root,
        context.reporter,
        since="2026-11-20",
    )
    manifest = stage.run(context)
    assert manifest.details["went_on_from"] == before.fingerprint
    assert manifest.details["frozen_candidate_tower"] is True
    said = "\n".join(context.reporter.messages)
    assert "goes on from the model before: 20 of 420 examples are new, and 108 are" in said
    now = weights_of(root, "weights.npz")
    changed = {name for name, values in now.items() if not np.array_equal(values, saved[name])}
    assert changed
    towers = storage.load_towers(root / "model")
    candidate = {variable.name.removesuffix(":0") for variable in towers.candidate.variables}
    assert changed.isdisjoint(candidate)
    assert set(np.load(root / "model" / warm_start.LEARNED).tolist()) == set(keys.tolist())
    assert manifest.counts["train_examples"] == before.counts["train_examples"]


def seal_again(directory, before):
    """Finishes an artifact whose files a test has changed."""
    staging = directory.with_name("changed")
    directory.rename(staging)
    (staging / "manifest.json").unlink()
    fields = before.model_dump(include={*ManifestFields.__required_keys__, "details"})
    commit(staging, directory, **fields, measurements=("training_log.jsonl",))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"batch_size": 32}, "the model before was trained with other settings or features"),
        (None, "there is no finished 'model' artifact"),
    ],
)
def test_without_a_model_that_fits_it_trains_from_the_start(refitted, tmp_path, change, reason):
    root = tmp_path / "daily"
    shutil.copytree(refitted, root)
    if change is None:
        shutil.rmtree(root / "model")
    context = context_of(root, "2026-11-20", **{"epochs": 1, **(change or {})})
    manifest = stage.run(context)
    assert "went_on_from" not in manifest.details
    assert "--since 2026-11-20: trains from the start: " in context.reporter.messages[0]
    assert reason in context.reporter.messages[0]
    json.dumps(manifest.details)
