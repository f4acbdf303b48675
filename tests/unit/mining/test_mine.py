"""Whole phases on the planted data."""

import filecmp
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from tests.fixtures.tiny import tiny_run_config
from tests.reference import mining as oracle
from tfrs_twotower.artifacts.layout import (
    CROSS_ENCODER,
    FIRST_FIT_WEIGHTS,
    REFIT_GLOB,
    TRAIN_GLOB,
    WEIGHTS,
)
from tfrs_twotower.config import MiningConfig
from tfrs_twotower.data.negative_lists import load_negative_lists
from tfrs_twotower.data.stored_examples import read_training_examples
from tfrs_twotower.data.training_examples import concatenate, load_example_table
from tfrs_twotower.errors import ConfigError, EmbeddingError
from tfrs_twotower.mining import fitting_halves, positive_free
from tfrs_twotower.mining.mine import embed_corpus, mine
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.storage import load_towers, save_towers, write_weights

CONFIG = tiny_run_config(
    training={
        **tiny_run_config().training.model_dump(mode="json"),
        "refit": True,
    }
)


@pytest.fixture(scope="module")
def model(spec, assets, tmp_path_factory):
    """Towers of two trainings, with different weights."""
    directory = tmp_path_factory.mktemp("model")
    towers = build_towers(spec, CONFIG.model, assets, seed=1)
    save_towers(towers, spec, CONFIG.model, assets, directory)
    first = build_towers(spec, CONFIG.model, assets, seed=2)
    write_weights(first.named_variables(), directory / FIRST_FIT_WEIGHTS)
    return directory


@pytest.fixture(scope="module")
def run(spec, preprocessed, model, tmp_path_factory):
    def run(config=CONFIG, spec=spec, **mining):
        directory = tmp_path_factory.mktemp("negatives")
        reports = []
        phases = mine(
            spec,
            config,
            MiningConfig(**{"depth": 12, **mining}),
            preprocessed,
            model,
            directory,
            lambda *figures: reports.append(figures),
        )
        return SimpleNamespace(directory=directory, phases=phases, reports=reports)

    return run


@pytest.fixture(scope="module")
def plain(run):
    return run()


@pytest.fixture(scope="module")
def with_ease(run):
    return run(teacher="ease", ease_lambda=5.0)


@pytest.fixture(scope="module")
def tables(spec, preprocessed, corpus, model):
    """The examples of each phase, and the products of their query and candidate embeddings."""
    data = {}
    table = None
    for phase, weights in (("fit", FIRST_FIT_WEIGHTS), ("refit", WEIGHTS)):
        towers = load_towers(model, weights)
        tokenise = towers.query.inputs
        if table is None:
            table = load_example_table(preprocessed, spec, corpus, tokenise)
        else:
            added = load_example_table(preprocessed, spec, corpus, tokenise, REFIT_GLOB)
            table = concatenate(table, added)
        queries = towers.query.embed_tokens(written_out(table.tokens)).numpy()
        products = queries @ towers.candidate(corpus.raw).numpy().T
        data[phase] = SimpleNamespace(table=table, products=products)
    return data


def written_out(tokens):
    return {name: np.asarray(values) for name, values in tokens.items()}


def positives_of(table):
    known = {}
    for query, row in zip(table.query_rows.tolist(), table.candidate_rows.tolist(), strict=True):
        known.setdefault(query, set()).add(row)
    return known


def test_lists_of_every_phase_equal_the_oracle_without_known_positives(plain, tables):
    for phase, phase_data in tables.items():
        lists = load_negative_lists(plain.directory, phase)
        known = positives_of(phase_data.table)
        assert len(lists) == len(phase_data.table)
        assert lists.teacher is None
        for example, query in enumerate(phase_data.table.query_rows.tolist()):
            listed = lists.rows[example].tolist()
            assert not set(listed) & known[query]
            assert len(set(listed)) == 12
            assert listed == oracle.mined_list(phase_data.products[example], known[query], (), 12)
            row = phase_data.table.candidate_rows[example]
            np.testing.assert_allclose(
                lists.scores[example], phase_data.products[example, [row, *listed]], atol=1e-6
            )


def test_phases_report_counts_and_nothing_that_was_learned(plain, tables):
    for phase in plain.phases:
        count = len(tables[phase.phase].table)
        assert asdict(phase) == {"phase": phase.phase, "num_examples": count, "num_short": 0}


def test_without_a_refit_the_final_weights_are_the_first_fit(run, tables, monkeypatch):
    monkeypatch.setattr(positive_free, "CHUNK", 7)
    result = run(config=tiny_run_config())
    assert [phase.phase for phase in result.phases] == ["fit"]
    lists = load_negative_lists(result.directory, "fit")
    refit = tables["refit"]
    expected = refit.products[np.arange(len(lists)), refit.table.candidate_rows[: len(lists)]]
    np.testing.assert_allclose(lists.scores[:, 0], expected, atol=1e-6)
    steps = [done for description, done, _ in result.reports if description == "mine (fit)"]
    assert steps[:2] == [7, 14]
    assert steps[-1] == len(lists)


def test_candidates_without_a_training_interaction_are_left_out_if_the_spec_says_so(
    run, tables, spec
):
    """In the refit as well, because evaluation ranks candidates of the training window only."""
    strict = spec.model_copy(
        update={"split": spec.split.model_copy(update={"known_candidates_only": True})}
    )
    cold = set(range(40)) - set(tables["fit"].table.candidate_rows.tolist())
    assert cold
    free, restricted = run(depth=40), run(spec=strict, depth=40)
    for phase in ("fit", "refit"):
        assert cold <= set(load_negative_lists(free.directory, phase).rows.ravel().tolist())
        rows = load_negative_lists(restricted.directory, phase).rows
        assert not cold & set(rows.ravel().tolist())
    assert restricted.phases[0].num_short == restricted.phases[0].num_examples


def test_ease_teaches_from_the_positives_of_its_phase(
    with_ease, tables, corpus, spec, preprocessed
):
    raw = [
        history
        for pattern in (TRAIN_GLOB, REFIT_GLOB)
        for batch in read_training_examples(preprocessed, spec, pattern)
        for history in batch["query"]["history"]
    ]
    for phase, phase_data in tables.items():
        table = phase_data.table
        pairs = set(zip(table.query_rows.tolist(), table.candidate_rows.tolist(), strict=True))
        weights = oracle.ease_weights(pairs, len(corpus), 5.0)
        lists = load_negative_lists(with_ease.directory, phase)
        known = set(table.candidate_rows.tolist())
        for example in range(len(table)):
            history = set(corpus.row_of([id_ for id_ in raw[example] if id_]).tolist()) & known
            target = int(table.candidate_rows[example])
            rows = [target, *lists.rows[example].tolist()]
            expected = oracle.ease_scores(weights, history, target, rows)
            np.testing.assert_allclose(lists.teacher[example], expected, atol=1e-4)


def test_bm25_teaches_from_the_texts_of_both_sides(run, tables):
    lists = load_negative_lists(run(teacher="bm25").directory, "refit")
    assert lists.teacher.shape == (len(tables["refit"].table), 13)
    assert (lists.teacher >= 0).all()
    own, others = lists.teacher[:, 0], lists.teacher[:, 1:]
    assert own.mean() > others.mean(), "queries share words with their positives"


SMALL = {"dim": 8, "num_heads": 2, "feed_forward_dim": 8, "num_layers": 1, "negatives": 3}


@pytest.fixture(scope="module")
def with_cross_encoder(run):
    """A run, and what each phase was fitted on."""
    learned = []
    real = fitting_halves.fit_halves

    def watched(spec, config, examples, **options):
        learned.append(examples)
        return real(spec, config, examples, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting_halves, "fit_halves", watched)
        result = run(teacher="cross_encoder", cross_encoder={**SMALL, "epochs": 1})
    return SimpleNamespace(learned=learned, **vars(result))


def test_a_cross_encoder_teaches_in_every_phase(with_cross_encoder, tables):
    directory = with_cross_encoder.directory
    for phase, phase_data in tables.items():
        lists = load_negative_lists(directory, phase)
        assert lists.teacher.shape == (len(phase_data.table), 13)
        assert np.isfinite(lists.teacher).all()
        assert (np.ptp(lists.teacher, axis=1) > 0.0).all()
    names = {path.name for path in (directory / CROSS_ENCODER).iterdir()}
    assert names == {"settings.json", "statistics.json", "vocabularies"} | {
        "weights-0.npz", "weights-1.npz"
    }  # fmt: skip
    descriptions = {description for description, _, _ in with_cross_encoder.reports}
    assert {"train cross-encoder 1 of 2 (fit)", "ask the teacher (refit)"} <= descriptions


def test_the_cross_encoder_of_the_first_fit_has_not_seen_validation(with_cross_encoder, tables):
    learned = with_cross_encoder.learned
    for examples, phase in zip(learned, ("fit", "refit"), strict=True):
        expected = tables[phase].table
        assert len(examples.lists) == len(examples.table) == len(expected)
        for name in ("timestamps", "candidate_rows", "query_rows"):
            np.testing.assert_array_equal(
                getattr(examples.table, name), getattr(expected, name), err_msg=name
            )
    assert learned[0].table.timestamps.max() < learned[1].table.timestamps.max()


def test_padding_has_score_zero(run):
    lists = load_negative_lists(run(depth=60, teacher="bm25").directory, "fit")
    pads = lists.rows < 0
    assert pads.any(axis=1).all()
    assert not lists.scores[:, 1:][pads].any()
    assert not lists.teacher[:, 1:][pads].any()


def test_the_same_towers_give_the_same_bytes(run, with_ease):
    first = with_ease.directory
    second = run(teacher="ease", ease_lambda=5.0).directory
    names = sorted(path.name for path in first.iterdir())
    assert len(names) == 6
    assert filecmp.cmpfiles(first, second, names, shallow=False)[0] == names


def test_a_corpus_that_is_too_large_for_ease_is_refused(run):
    config = CONFIG.model_copy(
        update={"evaluate": CONFIG.evaluate.model_copy(update={"ease_max_candidates": 39})}
    )
    message = "teacher is ease, but the corpus has 40 candidates, more than .*candidates 39: EASE"
    with pytest.raises(ConfigError, match=message):
        run(config=config, teacher="ease")


def test_candidates_without_a_finite_embedding_are_named(spec, assets, corpus):
    towers = build_towers(spec, CONFIG.model, assets, seed=1)
    (table,) = [v for name, v in towers.named_variables().items() if "brand" in name]
    table.assign(np.full(table.shape, np.nan))
    with pytest.raises(EmbeddingError, match=r"found 40 candidates .* such as 'item_00'"):
        embed_corpus(towers, corpus, lambda done, total: None)
