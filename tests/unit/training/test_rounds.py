"""Training in rounds: what a kill changes (nothing), what is logged, and which round is kept."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from tests.fixtures.recorder import Killed
from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tests.fixtures.tiny_files import write_preprocessed
from tests.fixtures.tiny_world import plant
from tests.reference.mining import mined_list
from tests.unit.mining.test_mine import positives_of, written_out
from tfrs_twotower.artifacts import read_manifest, verify_files
from tfrs_twotower.data.loading import load_corpus
from tfrs_twotower.data.negative_lists import load_round_negatives
from tfrs_twotower.data.training_examples import load_example_table
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.storage import load_towers, read_weights
from tfrs_twotower.training import rounds
from tfrs_twotower.training.mined_negatives import Round
from tfrs_twotower.training.retrieval_job import train_towers
from tfrs_twotower.training.rounds import best_round
from tfrs_twotower.training.train import train
from tfrs_twotower.training.warm_start import WarmStart


def small_spec():
    """The planted data with words on both sides and a history: little to trace, all to mine."""
    data = tiny_spec().model_dump(mode="json")
    for side, names in (("query", ("bio", "history")), ("candidate", ("item_id", "title"))):
        features = data[side]["features"]
        data[side]["features"] = [one for one in features if one["name"] in names]
    return FeatureSpec.model_validate(data)


SPEC = small_spec()
ANCE = {"rounds": 1, "epochs": 2, "negatives": 3, "ranks": (2, 15), "warm_start": "bm25"}
TIMES = ("examples_per_s",)


def config_of(ance=ANCE, **training):
    present = tiny_run_config().training.model_dump(mode="json")
    settings = {"epochs": 1, "terms": {"dual": {}}, "checkpoint_every_steps": 3, "ance": ance}
    return tiny_run_config(
        model={"embedding_dim": 8, "history_dropout": 0.2, "token_dropout": 0.1},
        training={**present, **settings, **training},
    )


def run(preprocessed, directory, report=lambda _: None, **settings):
    directory.mkdir(exist_ok=True)
    config = config_of(**settings)
    return train(preprocessed, spec=SPEC, config=config, output_dir=directory, report=report)


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("small") / "preprocessed"
    write_preprocessed(directory, SPEC, plant(0))
    return directory


@pytest.fixture(scope="module")
def whole(preprocessed, tmp_path_factory):
    """A training of two rounds that nothing disturbs."""
    directory = tmp_path_factory.mktemp("whole")
    said = []
    result = run(preprocessed, directory, lambda report: said.append(report.message))
    return directory, result, [message for message in said if message]


def files_of(directory):
    """Hashes of all files but those with durations, and the log without its durations."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.name == "training_log.jsonl":
            entries = map(json.loads, path.read_text().splitlines())
            found[name] = [{k: v for k, v in e.items() if k not in TIMES} for e in entries]
        elif path.is_file() and path.name != "result.json":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def log_of(directory):
    text = (directory / "training_log.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_each_round_is_a_model_with_what_was_mined_for_it(whole):
    directory, result, said = whole
    manifests = []
    for number in range(2):
        place = directory / "rounds" / str(number)
        manifests.append(read_manifest(place, "model"))
        verify_files(place, manifests[-1])
        mined = read_manifest(place / "negatives", "negatives")
        assert mined.counts["fit_examples"] == 420
        assert manifests[-1].parents["negatives"] == mined.fingerprint
        assert load_towers(place).embedding_dim == 8
    assert manifests[1].parents["model"] == manifests[0].fingerprint
    assert not list(directory.rglob("checkpoints"))
    kept = [facts["round"] for facts in result.rounds if facts["kept"]]
    assert [facts["round"] for facts in result.rounds] == [0, 1]
    of_kept, of_model = (
        read_weights(place / "weights.npz")
        for place in (directory / "rounds" / str(kept[0]), directory)
    )
    for name, value in of_kept.items():
        np.testing.assert_array_equal(value, of_model[name])
    assert result.messages[-1].startswith(f"training.ance: round {kept[0]} of 1 is kept: recall@10")
    assert said[0] == "round 0 of 1: mines with BM25"
    assert "round 1 of 1: mines with the towers before it" in said


def test_a_round_learns_from_the_lists_of_the_towers_before_it(whole, preprocessed):
    """Methods 5.5.2 through the whole training: the negatives of round 1 are round 0's top."""
    directory = whole[0]
    towers = load_towers(directory / "rounds" / "0")
    corpus = load_corpus(preprocessed, SPEC)
    table = load_example_table(preprocessed, SPEC, corpus, towers.query.inputs)
    queries = towers.query.embed_tokens(written_out(table.tokens)).numpy()
    products, known = queries @ towers.candidate(corpus.raw).numpy().T, positives_of(table)
    lists = load_round_negatives(directory / "rounds" / "1" / "negatives", "fit", len(table))
    for example, query in enumerate(table.query_rows.tolist()):
        expected = mined_list(products[example], known[query], (), 15)[1:]
        assert lists.rows[example].tolist() == expected
    assert lists.queries is not None
    first = directory / "rounds" / "0" / "negatives"
    assert load_round_negatives(first, "fit", len(table)).queries is None, "BM25 has no vectors"


def test_a_round_begins_with_the_weights_of_the_round_before(whole, preprocessed, tmp_path):
    """A training that moves nothing ends with them; new weights would be those of the seed."""
    before = whole[0] / "rounds" / "0"
    config = config_of(optimizer={"learning_rate": 1e-12, "warmup_steps": 0})
    train_towers(
        preprocessed,
        spec=SPEC,
        config=config,
        training=config.training,
        output_dir=tmp_path,
        report=lambda _: None,
        checkpoint_root=tmp_path,
        of_round=Round(WarmStart(before, config.daily, refitted=False), None),
    )
    expected = read_weights(before / "weights.npz")
    for name, value in read_weights(tmp_path / "weights.npz").items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6, err_msg=name)


def test_staleness_is_logged_and_bounded_by_the_length_of_a_round(whole):
    """Methods 5.5.4: steps since the weights that the lists come from; BM25 never ages."""
    directory, result, _ = whole
    log = log_of(directory)
    assert [entry["round"] for entry in log] == sorted(entry["round"] for entry in log)
    assert all("staleness" not in entry for entry in log if entry["round"] == 0)
    ages = [entry["staleness"] for entry in log if entry["round"] == 1]
    assert ages == list(range(1, 1 + round(2 * 420 / 64)))
    steps = [entry["step"] for entry in log]
    assert steps == list(range(1, 1 + len(log))), "steps count on over the rounds"
    assert result.rounds[1]["steps"] <= max(ages)


@pytest.mark.parametrize("where", ["mining", "training"])
def test_killed_in_the_middle_of_a_round_it_ends_with_the_same_bytes(
    whole, preprocessed, tmp_path, monkeypatch, where
):
    """The mined negatives, every weight of every round, the manifests and the logs."""
    shutil.copytree(whole[0] / "rounds" / "0", tmp_path / "rounds" / "0")
    mine, round_1 = rounds.mine_round, tmp_path / "rounds" / "1"

    def dies_in_training(report):
        if where == "training" and report.step == 5:
            raise Killed("now")

    def dies_in_mining(*arguments):
        def progress(what, done, _total):
            if where == "mining" and what == "mine (fit)":
                raise Killed(f"now, at {done}")

        return mine(*arguments[:-1], progress)

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "mine_round", dies_in_mining)
        with pytest.raises(Killed, match="now"):
            run(preprocessed, tmp_path, dies_in_training)
    assert (round_1 / "negatives").exists() == (where == "training")
    assert (round_1 / "checkpoints").exists() == (where == "training")
    written = (tmp_path / "rounds" / "0" / "weights.npz").stat().st_mtime_ns
    run(preprocessed, tmp_path)
    assert (tmp_path / "rounds" / "0" / "weights.npz").stat().st_mtime_ns == written
    assert files_of(tmp_path) == files_of(whole[0])


def test_damaged_or_outdated_rounds_are_made_again(whole, preprocessed, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(whole[0], copy)
    (copy / "rounds" / "0" / "weights.npz").write_bytes(b"")
    run(preprocessed, copy)
    assert files_of(copy) == files_of(whole[0])


@pytest.mark.slow
def test_a_refit_has_lists_of_its_own_in_every_round(preprocessed, tmp_path):
    result = run(preprocessed, tmp_path, ance={**ANCE, "warm_start": "none"}, refit=True)
    assert result.refitted
    assert result.num_examples == 480
    mined = read_manifest(tmp_path / "rounds" / "1" / "negatives", "negatives").counts
    assert (mined["fit_examples"], mined["refit_examples"]) == (420, 480)
    log = log_of(tmp_path)
    assert {(e["round"], e["phase"]) for e in log} == {
        (0, "fit"), (0, "refit"), (1, "fit"), (1, "refit")
    }  # fmt: skip
    ages = [e["staleness"] for e in log if (e["round"], e["phase"]) == (1, "refit")]
    assert ages == list(range(1, 1 + len(ages)))


def test_the_best_round_on_validation_is_kept_and_the_last_one_where_none_is_measured():
    values = [{"recall@10": 0.5}, {"recall@10": 0.7}, {"recall@10": 0.7}]
    assert best_round(values, "recall@10") == 1
    assert best_round(values, None) == 2
    assert best_round([{}, {}], "recall@10") == 1


def test_a_cluster_is_refused(preprocessed, tmp_path, monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(TrainingError, match=r"ance mines in one process, but TF_CONFIG names sev"):
        run(preprocessed, tmp_path)
