import dataclasses
import json

import numpy as np
import pytest
from scipy.special import expit

from tests.benchmarks.paper_protocol import __main__ as command_line
from tests.benchmarks.paper_protocol import fitting
from tests.benchmarks.paper_protocol.label_means import (
    left_out_means,
    means_of_others,
    means_of_the_split,
)
from tests.benchmarks.paper_protocol.measuring import TWO_FEATURES, facts_of, measure
from tests.benchmarks.paper_protocol.models import VARIANTS
from tests.benchmarks.paper_protocol.protocols import (
    PROTOCOLS,
    honest_random,
    honest_temporal,
    leaky,
)
from tests.benchmarks.paper_protocol.ratings import load_ratings
from tests.benchmarks.paper_protocol.table import render, summarise

HONEST = [honest_random, honest_temporal]
USERS, ITEMS, EVENTS = 12, 15, 120


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A tiny MovieLens: ids from 1 and out of order, every user and item rated."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "movielens_100k"
    folder.mkdir()
    random = np.random.default_rng(0)
    pairs = random.permutation(USERS * ITEMS)[:EVENTS]
    lines = ["user_id\titem_id\trating\ttimestamp"]
    for time, pair in enumerate(pairs):
        rating = random.choice([1, 2, 3, 4, 5], p=[0.1, 0.2, 0.1, 0.3, 0.3])
        lines.append(f"{pair // ITEMS + 1}\t{pair % ITEMS + 1}\t{rating}\t{1000 + time}")
    (folder / "interactions.tsv").write_text("\n".join(lines) + "\n")
    lines = ["user_id\tage\tgender\toccupation\tregion"]
    lines += [f"{u}\t{20 + u % 3}\t{'MF'[u % 2]}\tartist\t0" for u in range(USERS, 0, -1)]
    (folder / "users.tsv").write_text("\n".join(lines) + "\n")
    lines = ["item_id\ttitle\tyear\tgenres"]
    lines += [f"{i}\tFilm {i}\t1990\t{'Drama|War' if i % 2 else ''}" for i in range(1, ITEMS + 1)]
    (folder / "items.tsv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def ratings(directory):
    return load_ratings(directory / "movielens_100k")


def flipped(ratings, rows):
    labels = ratings.labels.copy()
    labels[rows] = 1.0 - labels[rows]
    return dataclasses.replace(ratings, labels=labels)


def test_neutral_ratings_are_dropped_and_labels_are_above_three(directory, ratings):
    lines = (directory / "movielens_100k" / "interactions.tsv").read_text().splitlines()[1:]
    events = [tuple(int(x) for x in line.split("\t")) for line in lines]
    kept = [event for event in events if event[2] != 3]
    assert len(kept) < len(events)
    np.testing.assert_array_equal(ratings.labels, [rating > 3 for _, _, rating, _ in kept])
    ids = ratings.user_features["user_id"][ratings.users]
    np.testing.assert_array_equal(ids, [str(user) for user, *_ in kept])
    assert ratings.item_features["genres"][0].tolist() == ["Drama", "War", *[""] * 6]
    assert ratings.item_features["genres"][1].tolist() == [""] * 8


def test_leaky_means_by_hand():
    keys = np.array([0, 1, 0, 0, 1])
    labels = np.array([1.0, 0.0, 0.0, 1.0, 0.0])
    np.testing.assert_allclose(means_of_the_split(keys, labels), [2 / 3, 0, 2 / 3, 2 / 3, 0])


def test_left_out_means_by_hand():
    # A row of key 0 that is 1: others 1 and 0, and of the four other rows one is 1.
    keys = np.array([0, 1, 0, 0, 1])
    labels = np.array([1.0, 0.0, 0.0, 1.0, 0.0])
    expected = [
        (1 + 5 * 1 / 4) / (2 + 5),
        (0 + 5 * 2 / 4) / (1 + 5),
        (2 + 5 * 2 / 4) / (2 + 5),
        (1 + 5 * 1 / 4) / (2 + 5),
        (0 + 5 * 2 / 4) / (1 + 5),
    ]
    np.testing.assert_allclose(left_out_means(keys, labels), expected)


def test_means_of_others_by_hand_with_an_unknown_key():
    known_keys, known_labels = np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 0.0, 1.0])
    expected = [(2 + 5 * 0.75) / 7, (1 + 5 * 0.75) / 7, 0.75]
    np.testing.assert_allclose(
        means_of_others(np.array([0, 1, 7]), known_keys, known_labels), expected
    )


@pytest.mark.parametrize("prepare", PROTOCOLS.values(), ids=PROTOCOLS)
def test_parts_share_no_row(prepare, ratings):
    rows = np.concatenate([part.rows for part in prepare(ratings, 0)])
    assert len(np.unique(rows)) == len(rows) <= len(ratings.labels)


@pytest.mark.parametrize("prepare", HONEST)
def test_an_honest_training_row_does_not_know_its_own_label(prepare, ratings):
    before = prepare(ratings, 0).fit
    for place in (0, 7, len(before.rows) - 1):
        after = prepare(flipped(ratings, before.rows[[place]]), 0).fit
        np.testing.assert_allclose(after.means[place], before.means[place], rtol=1e-12)
        others = np.delete(np.arange(len(before.rows)), place)
        assert (np.abs(after.means - before.means)[others] > 1e-6).any()


@pytest.mark.parametrize("prepare", HONEST)
def test_no_honest_feature_knows_a_test_label(prepare, ratings):
    before = prepare(ratings, 0)
    after = prepare(flipped(ratings, before.test.rows), 0)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new.rows, old.rows)
        np.testing.assert_array_equal(new.means, old.means)


@pytest.mark.parametrize("prepare", HONEST)
def test_no_honest_feature_of_fit_or_validation_knows_a_validation_label(prepare, ratings):
    before = prepare(ratings, 0)
    after = prepare(flipped(ratings, before.validation.rows), 0)
    np.testing.assert_array_equal(after.fit.means, before.fit.means)
    np.testing.assert_array_equal(after.validation.means, before.validation.means)


def test_leaky_test_features_are_made_of_test_labels(ratings):
    """Hand-worked over again with plain loops: means, the dropped users, the refitted scale."""
    prepared = leaky(ratings, 3)
    test = prepared.test
    labels = ratings.labels[test.rows]
    raw = np.empty_like(test.means)
    for row, (user, item) in enumerate(
        zip(ratings.users[test.rows], ratings.items[test.rows], strict=True)
    ):
        raw[row] = (
            np.mean(labels[ratings.users[test.rows] == user]),
            np.mean(labels[ratings.items[test.rows] == item]),
        )
    assert (raw[:, 0] > 0).all(), "a user without a positive left the split"
    low, high = raw.min(axis=0), raw.max(axis=0)
    np.testing.assert_allclose(test.means, (raw - low) / (high - low))


def test_leaky_validation_has_the_highest_item_ids(ratings):
    prepared = leaky(ratings, 0)
    assert ratings.items[prepared.fit.rows].max() <= ratings.items[prepared.validation.rows].min()


def test_temporal_parts_follow_each_other(ratings):
    fit, validation, test = (ratings.timestamps[p.rows] for p in honest_temporal(ratings, 0))
    assert fit.max() < validation.min() <= validation.max() < test.min()


def test_facts_by_hand(ratings):
    prepared = honest_temporal(ratings, 0)
    fit, validation, _ = ({*ratings.users[part.rows].tolist()} for part in prepared)
    tested = ratings.users[prepared.test.rows].tolist()
    facts = facts_of(ratings, prepared)
    unknown = [user not in fit for user in tested]
    new = [user not in fit | validation for user in tested]
    assert facts.unknown_user_share_of_test == pytest.approx(sum(unknown) / len(tested))
    assert facts.new_user_share_of_test == pytest.approx(sum(new) / len(tested))
    assert facts.test_rows == len(tested)


def test_logistic_regression_is_at_the_optimum():
    random = np.random.default_rng(0)
    x = random.normal(size=(500, 2))
    y = (random.random(500) < expit(x @ [2.0, -1.0] + 0.5)).astype(float)
    weights = fitting.logistic_regression(x, y)
    residual = y - expit(x @ weights[:2] + weights[2])
    np.testing.assert_allclose([*(x.T @ residual), residual.sum()], 0.0, atol=1e-9)


def test_every_kind_of_tower_is_measured_and_a_seed_has_one_result(ratings, monkeypatch):
    monkeypatch.setattr(fitting, "MAX_EPOCHS", 1)
    prepared = honest_temporal(ratings, 0)
    variants = {name: VARIANTS[name] for name in ("two-tower", "DAT", "IntTower + CIR")}
    first = list(measure(ratings, "p", prepared, 0, variants))
    assert [score.model for score in first] == [TWO_FEATURES, *variants]
    assert all(0 <= score.auc <= 1 and score.log_loss > 0 for score in first)
    again = list(measure(ratings, "p", prepared, 0, {"two-tower": VARIANTS["two-tower"]}))
    assert again == first[:2]


def test_the_table_by_hand(ratings):
    (score,) = measure(ratings, "leaky", leaky(ratings, 0), 0, {})
    scores = [
        score._replace(protocol=protocol, model=model, seed=seed, auc=auc, gauc=0.7, log_loss=0.4)
        for protocol in PROTOCOLS
        for model, aucs in [(name, (0.7, 0.9)) for name in (TWO_FEATURES, *VARIANTS)]
        for seed, auc in enumerate(aucs if model != "two-tower" else (0.6, 0.7))
    ]
    summary = summarise(scores)["leaky"]["IntTower"]
    # (.2 / .1 - 1 + .4 / .2 - 1) / 2 = 1; the deviation of .7 and .9 is .2 / sqrt(2).
    assert summary["relaimpr"] == pytest.approx((100.0, 0.0))
    assert summary["auc"] == pytest.approx((0.8, 0.2 / 2**0.5))
    facts = {name: facts_of(ratings, prepare(ratings, 0)) for name, prepare in PROTOCOLS.items()}
    text = render(scores, facts)
    assert "| IntTower | .8000 ± .1414 |" in text
    assert "over 2 seeds" in text


def test_the_command_line_writes_both_files(directory, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "MAX_EPOCHS", 1)
    monkeypatch.setattr(command_line, "PROTOCOLS", {})
    monkeypatch.setattr(command_line, "render", lambda scores, facts: "table\n")
    out = tmp_path / "new" / "paper.md"
    command_line.main(["--data", str(directory), "--seeds", "1", "--out", str(out)])
    assert out.read_text() == "table\n"
    assert json.loads(out.with_suffix(".json").read_text())["scores"] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--data": "nowhere"}, "run twotower dataset movielens-100k --out nowhere"),
        ({"--seeds": "0"}, "at least 1 is needed"),
        ({"--out": "paper.txt"}, "ends in .md"),
    ],
)
def test_wrong_options_are_refused_with_what_to_do(directory, capsys, changes, message):
    options = {"--data": str(directory), "--seeds": "1", "--out": "paper.md", **changes}
    with pytest.raises(SystemExit, match="2"):
        command_line.main([word for option in options.items() for word in option])
    assert message in capsys.readouterr().err
