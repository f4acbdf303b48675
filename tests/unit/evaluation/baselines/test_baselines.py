from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from tests.unit.evaluation.world import make_world, without_history
from tfrs_twotower.closed_form.bm25 import Bm25Index
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.evaluation.baselines.collaborative import (
    ItemKnnScorer,
    cosine_neighbours,
    interaction_counts,
    nearest,
    recent,
)
from tfrs_twotower.evaluation.baselines.selection import fit_baselines, reasons_against
from tfrs_twotower.evaluation.baselines.text_baselines import (
    Bm25Scorer,
    HybridScorer,
    normalised,
    tune_weight,
)
from tfrs_twotower.evaluation.corpus_ranking import EmbeddingScorer, rank_corpus


def dense(rows):
    return sparse.csr_matrix(np.array(rows, np.float32))


def test_cosine_neighbours_by_hand():
    matrix = dense([[1, 1, 0], [1, 1, 0], [1, 0, 1]])
    similar = cosine_neighbours(matrix, 2).toarray()
    np.testing.assert_allclose(similar[0], [0, 2 / np.sqrt(3 * 2), 1 / np.sqrt(3 * 1)], rtol=1e-6)
    assert similar[1, 2] == 0
    np.testing.assert_array_equal(
        cosine_neighbours(matrix, 1).toarray()[0] > 0, [False, True, False]
    )
    shrunk = cosine_neighbours(matrix, 2, shrink=1.0).toarray()
    assert shrunk[0, 1] == pytest.approx(2 / (np.sqrt(6) + 1))
    scorer = ItemKnnScorer(dense([[0, 1, 1]]), cosine_neighbours(matrix, 2))
    np.testing.assert_allclose(
        scorer(np.array([0]))[0], [2 / np.sqrt(6) + 1 / np.sqrt(3), 0, 0], rtol=1e-6
    )


def test_popularity_counts_queries_or_events():
    log = make_world().log
    chosen = np.ones(len(log), bool)
    events = interaction_counts(log, chosen, 30, distinct=False)
    assert events.sum() == len(log)
    doubled = np.concatenate([np.arange(len(log)), [0]])
    repeated = type(log)(
        log.query_ids,
        *(getattr(log, name)[doubled] for name in ("query", "candidate", "timestamp")),
        log.positive[doubled],
        log.split[doubled],
    )
    once = interaction_counts(repeated, np.ones(len(doubled), bool), 30, distinct=True)
    np.testing.assert_array_equal(once, events)


def test_recent_keeps_the_last_days():
    log = make_world().log
    chosen = log.split == 0
    last = recent(log, chosen, 2.5 / 86_400)
    assert set(log.timestamp[last]) == {1003, 1004, 1005}


def test_normalised_maps_the_theoretical_minimum_to_zero():
    np.testing.assert_allclose(
        normalised(np.array([[-1.0, 0.0, 1.0], [-1.0, -1.0, -1.0]]), -1.0), [[0, 0.5, 1], [0, 0, 0]]
    )


def test_the_hybrid_ends_are_its_parts():
    inputs = make_world(texts=True)
    retrieval = EmbeddingScorer(inputs.test.embeddings, inputs.corpus.vectors)
    words = Bm25Scorer(Bm25Index(inputs.corpus.texts, k1=1.2, b=0.75), inputs.test.texts)
    for weight, part in ((1.0, retrieval), (0.0, words)):
        np.testing.assert_array_equal(
            rank_corpus(HybridScorer(retrieval, words, weight), inputs.test, inputs.eligible, 5),
            rank_corpus(part, inputs.test, inputs.eligible, 5),
        )


def test_the_weight_ignores_a_useless_part():
    inputs = make_world(texts=True)
    validation = inputs.validation
    retrieval = EmbeddingScorer(validation.embeddings, inputs.corpus.vectors)

    def contrary(queries):
        return 1.0 - retrieval(queries)

    tuned = tune_weight(
        retrieval, contrary, validation, inputs.eligible, ("ndcg@5", "recall@10"), 30
    )
    assert tuned.weight == 1.0
    assert len(tuned.curve) == 21
    best = max(entry["ndcg@5"] + entry["recall@10"] for entry in tuned.curve)
    assert tuned.curve[-1]["ndcg@5"] + tuned.curve[-1]["recall@10"] == best


def fitted(inputs, **settings):
    return fit_baselines(
        inputs,
        EvaluateConfig(ks=(5, 10), **settings),
        refit=True,
        recent_days=1.0,
        metrics=("ndcg@5", "recall@10"),
        progress=lambda name: None,
    )


def test_recommender_data_gets_the_collaborative_baselines():
    result = fitted(make_world())
    assert set(result.scorers) == {"popularity", "recent_popularity", "item_knn", "ease"}
    assert set(result.left_out) == {"bm25", "hybrid"}


def test_text_data_gets_bm25_and_hybrid():
    result = fitted(without_history(make_world(texts=True)))
    assert set(result.scorers) == {"bm25", "hybrid"}
    assert "no test query has an earlier event" in result.left_out["ease"]


def test_the_weight_of_hybrid_is_tuned_with_the_towers_of_the_validation_queries():
    """After a refit the final vectors have learned them; those of the first fit have not."""
    world = without_history(make_world(texts=True))
    first = np.random.default_rng(0).permutation(world.corpus.vectors)
    after_refit = replace(world, first_fit_vectors=first)
    before = replace(world, corpus=world.corpus.with_vectors(first))
    tuned, expected, final = (
        fitted(one).settings["hybrid"] for one in (after_refit, before, world)
    )
    assert tuned == expected != final
    unknown = replace(
        world, validation=replace(world.validation, embeddings=np.zeros((0, 0), np.float32))
    )
    assert "have not learned them" in fitted(unknown).left_out["hybrid"]


def test_a_large_corpus_leaves_ease_out_and_says_so():
    config = EvaluateConfig(ease_max_candidates=10)
    assert reasons_against(make_world(), config)["ease"] == (
        "the corpus has 30 candidates, evaluate.ease_max_candidates is 10"
    )


def test_communities_are_found():
    """Whoever chose odd candidates is given odd ones: the answer is known without a library."""
    inputs = make_world()
    result = fitted(inputs)
    for name in ("item_knn", "ease"):
        ranked = rank_corpus(result.scorers[name], inputs.test, inputs.eligible, 5)
        assert np.all(ranked % 2 == (np.arange(40) % 2)[:, None]), name


def test_settings_are_chosen_on_validation():
    """One neighbour is too few to tell the communities' candidates apart, all of them are not."""
    inputs = make_world()
    tuned = fitted(inputs, item_knn_neighbours=[1, 30], ease_lambda=[1.0, 1e9]).settings
    assert tuned["item_knn"].chosen_from == (1, 30)
    for name, setting in (("item_knn", "neighbours"), ("ease", "lambda")):
        tried = {entry["setting"]: entry for entry in tuned[name].validation}
        reached = {key: entry["ndcg@5"] + entry["recall@10"] for key, entry in tried.items()}
        assert reached[tuned[name].as_json()[setting]] == max(reached.values())
        assert len(reached) == 2


def test_without_validation_the_middle_setting_is_taken():
    inputs = replace(make_world(), validation=None)
    settings = fitted(inputs, item_knn_neighbours=[50, 5, 10]).settings["item_knn"]
    assert settings.as_json() == {"neighbours": 10, "interactions": "positive"}


def test_one_setting_is_not_tried():
    settings = fitted(make_world(), ease_lambda=3.0).settings["ease"]
    assert settings.as_json() == {"lambda": 3.0, "interactions": "positive"}


def test_all_interactions_are_learned_from_if_validation_says_so():
    """One interaction in six is positive: too few to learn the communities from."""
    inputs = make_world()
    log = inputs.log
    positive = (np.arange(len(log)) % 6 == 0) | (log.split > 0)
    settings = fitted(replace(inputs, log=replace(log, positive=positive))).settings
    kinds = {entry["interactions"] for entry in settings["item_knn"].validation}
    assert kinds == {"positive", "all"}
    assert settings["item_knn"].interactions == "all"


def test_fewer_neighbours_of_many_are_the_few_neighbours():
    generator = np.random.default_rng(0)
    matrix = sparse.csr_matrix((generator.random((60, 25)) < 0.3).astype(np.float32))
    many = cosine_neighbours(matrix, 20)
    for count in (1, 3, 20, 100):
        few = nearest(many, count)
        expected = cosine_neighbours(matrix, min(count, 20))
        np.testing.assert_array_equal(few.toarray(), expected.toarray())
        ItemKnnScorer(matrix, few)(np.arange(60))
        ItemKnnScorer(matrix, many)(np.arange(60))  # scoring leaves the order alone


def test_settings_name_what_applies_and_nothing_else():
    settings = fitted(make_world(texts=True)).settings
    as_json = {name: list(each.as_json()) for name, each in settings.items()}
    tuned = ["interactions", "chosen_from", "validation"]
    assert as_json == {
        "popularity": ["interactions", "counts"],
        "recent_popularity": ["interactions", "counts", "days"],
        "item_knn": ["neighbours", *tuned],
        "ease": ["lambda", *tuned],
        "bm25": ["k1", "b", "analyser"],
        "hybrid": ["retrieval_weight", "validation"],
    }
