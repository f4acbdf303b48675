from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from tests.unit.evaluation.world import (
    NUM_CANDIDATES,
    NUM_QUERIES,
    make_world,
    without_history,
)
from tfrs_twotower.closed_form import linear_models
from tfrs_twotower.closed_form import neighbours as closed_form_neighbours
from tfrs_twotower.closed_form.bm25 import Bm25Index, build_postings
from tfrs_twotower.closed_form.neighbours import cosine_neighbours, nearest
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.evaluation import budget
from tfrs_twotower.evaluation.baselines import collaborative, profile_models, selection
from tfrs_twotower.evaluation.baselines.collaborative import (
    PopularityScorer,
    ProfileScorer,
    profile_positions,
)
from tfrs_twotower.evaluation.baselines.fitting_baselines import fit_baselines
from tfrs_twotower.evaluation.baselines.selection import reasons_against, select
from tfrs_twotower.evaluation.baselines.text_baselines import (
    WEIGHTS,
    Bm25Scorer,
    HybridScorer,
    TunedWeight,
    tune_feedback,
    tune_weight,
)
from tfrs_twotower.evaluation.baselines.tuned_baselines import Asked, LearnedFrom
from tfrs_twotower.evaluation.corpus_ranking import EmbeddingScorer, rank_corpus
from tfrs_twotower.evaluation.text_retrieval import normalised
from tfrs_twotower.ranking import GroundTruth, Ragged
from tfrs_twotower.specs import TEST, TRAIN, VALIDATION

COLLABORATIVE = {"popularity", "recent_popularity", "item_knn", "ease", "rdlae", "recent_ease"}
METRICS = ("ndcg@5", "recall@10", "map@5")


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
    neighbours = cosine_neighbours(matrix, 2)
    scores = (dense([[0, 1, 1]]) @ neighbours).toarray()
    np.testing.assert_allclose(scores, [[2 / np.sqrt(6) + 1 / np.sqrt(3), 0, 0]], rtol=1e-6)


def test_a_profile_holds_the_latest_first_and_weighs_by_it():
    """Query 1 chose 4, 7, 4, 2 at the times 1, 2, 3, 3: from the latest on 2, 4, 7."""
    log = replace(
        make_world().log,
        query=np.array([1, 1, 1, 1, 0]),
        candidate=np.array([4, 7, 4, 2, 9]),
        timestamp=np.array([1, 2, 3, 3, 9]),
        positive=np.ones(5, bool),
        split=np.zeros(5, np.int64),
    )
    queries = make_world().test.take(np.array([2, 1]))
    positions = profile_positions(log, np.ones(5, bool), queries, 30)
    assert positions.toarray()[1, [2, 4, 7]].tolist() == [1, 2, 3]
    assert positions.nnz == 3

    def popular(queries):
        return np.full((len(queries), 30), 7.0)

    def weights(half_life):
        scorer = ProfileScorer(positions, lambda own: own.toarray(), popular, half_life)
        return scorer(np.array([1]))[0, [2, 4, 7]].tolist()

    assert weights(None) == [1, 1, 1]
    assert weights(2.0) == pytest.approx([1, 2**-0.5, 0.5])
    alone = ProfileScorer(positions, lambda own: own.toarray(), popular)(np.array([0, 1]))
    assert (alone[0] == 7).all()  # query 2 has no profile


def counts(log, chosen, distinct, days=None):
    return collaborative.Counted.of(log, chosen, 30, distinct=distinct).counts(days)


def test_popularity_counts_queries_or_events():
    log = make_world().log
    events = counts(log, np.ones(len(log), bool), False)
    assert events.sum() == len(log)
    doubled = np.concatenate([np.arange(len(log)), [0]])
    repeated = type(log)(
        log.query_ids,
        *(getattr(log, name)[doubled] for name in ("query", "candidate", "timestamp")),
        log.positive[doubled],
        log.split[doubled],
    )
    every = np.ones(len(doubled), bool)
    np.testing.assert_array_equal(counts(repeated, every, True), events)
    assert counts(repeated, every, False).sum() == events.sum() + 1


def test_recent_popularity_counts_the_last_days():
    """Query 0 chose 4 at 0 and again at day 9; 7 at 2. The last 3 days hold one choice of 4."""
    log = replace(
        make_world().log,
        query=np.array([0, 0, 0, 1]),
        candidate=np.array([4, 4, 7, 7]),
        timestamp=np.array([0, 9, 2, 10]) * 86_400,
    )
    every = np.ones(4, bool)
    assert counts(log, every, True, 3.0)[[4, 7]].tolist() == [1, 1]
    assert counts(log, every, True, 8.5)[[4, 7]].tolist() == [1, 2]
    assert counts(log, every, True, 99.0)[[4, 7]].tolist() == [1, 2]
    assert counts(log, every, False, 99.0)[[4, 7]].tolist() == [2, 2]
    assert counts(log, np.zeros(4, bool), True, 3.0).sum() == 0


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
    assert tuned.best == {"ndcg@5": 1.0, "recall@10": 1.0}
    assert len(tuned.curve) == 21


def placed(answers, places):
    """A scorer that puts the answer of each query at a place, and the others in their order."""
    scores = np.empty((len(answers), NUM_CANDIDATES))
    for query, (answer, place) in enumerate(zip(answers, places, strict=True)):
        order = np.insert(np.delete(np.arange(NUM_CANDIDATES), answer), place, answer)
        scores[query, order] = np.linspace(1.0, 0.1, NUM_CANDIDATES)
    return lambda queries: scores[queries]


def test_the_weight_is_chosen_for_each_metric():
    """Retrieval has half of the answers in the first place, the words all of them in the ninth.

    Retrieval alone gives the best first places; only with the words are all answers in ten.
    """
    inputs = without_history(make_world(texts=True))
    answers = np.arange(NUM_QUERIES) % NUM_CANDIDATES
    truth = GroundTruth.from_lists([[answer] for answer in answers])
    retrieval = placed(answers, np.arange(NUM_QUERIES) % 2 * 20)
    words = placed(answers, np.full(NUM_QUERIES, 8))
    validation = replace(inputs.validation, truth=truth)
    tuned = tune_weight(retrieval, words, validation, inputs.eligible, METRICS, 30)
    assert tuned.best["ndcg@5"] == tuned.best["map@5"] == 1.0 > tuned.best["recall@10"] > 0.0
    for name, weight in tuned.best.items():
        reached = {entry["weight"]: entry[name] for entry in tuned.curve}
        assert reached[weight] == max(reached.values())


def chosen_among(values):
    """A search whose query i has these values with the weights 0, .05 and so on."""
    values = np.array(values, float).T
    best = {"ndcg@5": WEIGHTS[int(values.mean(axis=1).argmax())]}
    return TunedWeight(best, [], {"ndcg@5": values})


def test_few_queries_do_not_choose_a_weight_by_luck():
    """By hand: .9 is ahead by (.4 + 0 + 0 + 0) / 4 = .1, with a standard error of .1."""
    luck = np.zeros((4, len(WEIGHTS)))
    luck[0, WEIGHTS.index(0.9)] = 0.4
    assert chosen_among(luck).cautious("ndcg@5", 0.3) == 0.3
    luck[1, WEIGHTS.index(0.9)] = 0.4  # .2, with .115
    assert chosen_among(luck).cautious("ndcg@5", 0.3) == 0.9
    luck[:2, WEIGHTS.index(0.5)] = 0.3  # behind by .05, with .029
    luck[2, WEIGHTS.index(0.5)] = 0.1  # behind by .025, with .048
    assert chosen_among(luck).cautious("ndcg@5", 0.3) == 0.5
    assert chosen_among(luck[:1]).cautious("ndcg@5", 0.3) == 0.3


def test_the_curve_of_weights_has_the_means_of_the_queries():
    inputs = make_world(texts=True)
    validation = inputs.validation
    retrieval = EmbeddingScorer(validation.embeddings, inputs.corpus.vectors)
    words = Bm25Scorer(Bm25Index(inputs.corpus.texts, k1=1.2, b=0.75), validation.texts)
    tuned = tune_weight(retrieval, words, validation, inputs.eligible, METRICS, 30)
    for name in METRICS:
        assert tuned.per_query[name].shape == (len(WEIGHTS), len(validation))
        means = [entry[name] for entry in tuned.curve]
        np.testing.assert_allclose(tuned.per_query[name].mean(axis=1), means)


def fitted(inputs, *, refit=True, **settings):
    config = EvaluateConfig(ks=(5, 10), **settings)
    found = fit_baselines(
        select(inputs, config, refit=refit).names,
        inputs,
        config,
        refit=refit,
        recent_days=1.0,
        metrics=METRICS,
    )
    return {baseline.name: baseline for baseline in found}


def settings_of(inputs, name, **settings):
    return fitted(inputs, baselines=[name], **settings)[name].settings


def test_recommender_data_gets_the_collaborative_baselines():
    inputs = make_world()
    assert set(fitted(inputs)) == COLLABORATIVE | {"ials"}
    assert set(select(inputs, EvaluateConfig(), refit=True).left_out) == {"bm25", "hybrid"}


def test_text_data_gets_bm25_and_hybrid():
    inputs = without_history(make_world(texts=True))
    assert set(fitted(inputs)) == {"bm25", "hybrid"}
    reason = select(inputs, EvaluateConfig(), refit=True).left_out["ease"]
    assert "no test query has an earlier event" in reason


def test_the_weight_of_hybrid_is_tuned_with_the_towers_of_the_validation_queries():
    """After a refit the final vectors have learned them; those of the first fit have not."""
    world = without_history(make_world(texts=True))
    first = np.random.default_rng(0).permutation(world.corpus.vectors)
    after_refit = replace(world, first_fit_vectors=first)
    before = replace(world, corpus=world.corpus.with_vectors(first))
    tuned, expected, final = (
        fitted(one)["hybrid"].settings for one in (after_refit, before, world)
    )
    assert tuned == expected != final
    unknown = replace(
        world, validation=replace(world.validation, embeddings=np.zeros((0, 0), np.float32))
    )
    assert "have not learned them" in reasons_against(unknown, EvaluateConfig())["hybrid"]


def test_a_large_matrix_leaves_linear_models_out_and_says_so():
    """30 candidates and 40 queries: the smaller number counts."""
    reasons = reasons_against(make_world(), EvaluateConfig(ease_max_candidates=10))
    assert reasons["ease"] == reasons["rdlae"] == reasons["recent_ease"]
    assert "order 30, the smaller number of candidates and queries" in reasons["ease"]
    assert "evaluate.ease_max_candidates is 10" in reasons["ease"]
    assert "ease" not in reasons_against(make_world(), EvaluateConfig(ease_max_candidates=30))


def test_the_order_is_the_smaller_number_in_use():
    """Six events of training: of 3 queries and 4 candidates; the other ids have none."""
    log = make_world().log
    few = replace(
        log,
        query=np.array([0, 0, 3, 3, 7, 7, 8]),
        candidate=np.array([1, 2, 1, 5, 9, 2, 11]),
        split=np.array([TRAIN] * 6 + [TEST]),
    )
    assert selection.matrix_order(replace(make_world(), log=few), (TRAIN,)) == 3
    swapped = replace(few, query=few.candidate, candidate=few.query)
    assert selection.matrix_order(replace(make_world(), log=swapped), (TRAIN,)) == 3


def test_a_baseline_that_costs_too_much_is_left_out_unless_it_is_named(monkeypatch):
    """Six training choices of each of 40 queries: 40 x 36 pairs, 4 fits, 20 products each."""
    monkeypatch.setattr(budget, "MOST_OPERATIONS", 4 * 20 * 40 * 36 - 1)
    left_out = select(make_world(), EvaluateConfig(), refit=False).left_out
    assert "take 1.2e+05 multiplications" in left_out["item_knn"]
    assert "may take 1.2e+05" in left_out["item_knn"]
    named = select(make_world(), EvaluateConfig(baselines=["item_knn"]), refit=False)
    assert named.names == ("item_knn",)
    monkeypatch.setattr(budget, "MOST_OPERATIONS", 4 * 20 * 40 * 36)
    assert "item_knn" in select(make_world(), EvaluateConfig(), refit=False).names
    monkeypatch.setattr(budget, "MOST_BYTES", 1)
    reasons = select(make_world(), EvaluateConfig(), refit=False).left_out
    assert {"item_knn", "ials"} <= set(reasons)


def test_ials_tries_fewer_factors_where_there_are_many_queries_and_candidates():
    """An iteration of 512 factors for 2,000 vectors takes as long as one of 128 for 32,000."""
    found = [profile_models.most_factors(vectors) for vectors in (0, 2_000, 3_000, 32_000, 10**6)]
    assert found == [512, 512, 256, 128, 64]


def test_without_the_library_ials_is_left_out_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(selection.util, "find_spec", lambda name: None)
    left_out = select(make_world(), EvaluateConfig(), refit=True).left_out
    assert "pip install 'tfrs-twotower[report]'" in left_out["ials"]


@pytest.mark.parametrize("name", ["item_knn", "ease", "rdlae", "recent_ease", "ials"])
def test_communities_are_found(name):
    """Whoever chose odd candidates is given odd ones: the answer is known without a library."""
    inputs = make_world()
    for _, scorer in fitted(inputs, baselines=[name])[name].variants:
        ranked = rank_corpus(scorer(), inputs.test, inputs.eligible, 5)
        assert np.all(ranked % 2 == (np.arange(40) % 2)[:, None]), name


@pytest.mark.parametrize("name", [*sorted(COLLABORATIVE - {"popularity"}), "ials"])
def test_settings_are_chosen_on_validation_for_each_metric(name):
    baseline = fitted(make_world(), baselines=[name])[name]
    settings = baseline.settings
    axes = set(settings.chosen_for["ndcg@5"])
    for metric in METRICS:
        chosen = settings.chosen_for[metric]
        reached = {
            tuple(entry[axis] for axis in sorted(axes)): entry[metric]
            for entry in settings.validation
        }
        assert reached[tuple(chosen[axis] for axis in sorted(axes))] == max(reached.values())
    assert settings.as_json().items() >= settings.chosen_for["ndcg@5"].items()
    assert sorted(metric for metrics, _ in baseline.variants for metric in metrics) == sorted(
        METRICS
    )
    assert baseline.variants[0][0][0] == "ndcg@5"


def test_without_validation_the_middle_setting_is_taken():
    inputs = replace(make_world(), validation=None)
    settings = settings_of(inputs, "item_knn", item_knn_neighbours=[20, 5, 10])
    assert settings.as_json() == {"neighbours": 10, "interactions": "positive"}


def test_one_setting_is_not_tried():
    settings = settings_of(make_world(), "ease", ease_lambda=3.0)
    assert settings.as_json() == {"lambda": 3.0, "interactions": "positive"}


def test_all_interactions_are_learned_from_if_validation_says_so():
    """One interaction in six is positive: too few to learn the communities from."""
    inputs = make_world()
    log = inputs.log
    positive = (np.arange(len(log)) % 6 == 0) | (log.split > 0)
    settings = settings_of(replace(inputs, log=replace(log, positive=positive)), "item_knn")
    kinds = {entry["interactions"] for entry in settings.validation}
    assert kinds == {"positive", "all"}
    assert settings.interactions == "all"


@pytest.mark.parametrize("name", ["recent_popularity", "item_knn", "ease", "rdlae", "ials"])
def test_what_is_in_test_changes_neither_settings_nor_scores(name):
    """Other test events, other test truth: the same choice, the same fit."""
    inputs = make_world()
    log = inputs.log
    candidate = np.where(log.split == TEST, (log.candidate + 1) % 30, log.candidate)
    other = replace(
        inputs,
        log=replace(log, candidate=candidate),
        test=replace(inputs.test, truth=inputs.validation.truth),
    )
    here, there = (fitted(world, baselines=[name])[name] for world in (inputs, other))
    assert here.settings == there.settings
    queries = np.arange(40)
    for (_, own), (_, others) in zip(here.variants, there.variants, strict=True):
        np.testing.assert_array_equal(own()(queries), others()(queries))


@pytest.mark.parametrize("name", ["recent_popularity", "item_knn", "ease", "rdlae", "ials"])
def test_tuning_learns_from_training_alone(name):
    """Validation's events are no part of what is measured on validation; its truth is."""
    inputs = make_world()
    log = inputs.log
    candidate = np.where(log.split == VALIDATION, (log.candidate + 7) % 30, log.candidate)
    other = replace(inputs, log=replace(log, candidate=candidate))
    assert settings_of(inputs, name) == settings_of(other, name)
    truth = replace(inputs, validation=replace(inputs.validation, truth=inputs.test.truth))
    assert settings_of(inputs, name) != settings_of(truth, name)


def test_only_a_refit_learns_from_validation_but_every_test_profile_holds_it():
    inputs = make_world()
    log, queries = inputs.log, np.arange(40)
    training = np.bincount(log.candidate[log.split == TRAIN], minlength=30)
    both = np.bincount(log.candidate[log.split != TEST], minlength=30)
    for refit, counts in ((False, training), (True, both)):
        popular = fitted(inputs, refit=refit, baselines=["popularity"])["popularity"]
        np.testing.assert_array_equal(popular.variants[0][1]()(queries)[0], counts)
    scorer = fitted(inputs, refit=False, baselines=["ease"])["ease"].variants[0][1]()
    profile = set(scorer.positions[0].indices)
    assert profile == set(log.candidate[(log.query == 0) & (log.split != TEST)])


def test_fewer_neighbours_of_many_are_the_few_neighbours():
    generator = np.random.default_rng(0)
    matrix = sparse.csr_matrix((generator.random((60, 25)) < 0.3).astype(np.float32))
    many = cosine_neighbours(matrix, 20)
    for count in (1, 3, 20, 100):
        few = nearest(many, count)
        expected = cosine_neighbours(matrix, min(count, 20))
        np.testing.assert_array_equal(few.toarray(), expected.toarray())


def test_neighbours_of_some_candidates_are_their_neighbours_among_all(monkeypatch):
    """However the candidates are cut into blocks."""
    matrix = sparse.random(50, 30, 0.3, "csr", np.float32, 0)
    matrix.data[:] = 1
    rows = np.array([0, 3, 4, 17, 29])
    every = cosine_neighbours(matrix, 7)
    monkeypatch.setattr(closed_form_neighbours, "_PAIRS_AT_ONCE", 300)
    some = cosine_neighbours(matrix, 7, rows=rows)
    np.testing.assert_array_equal(some.toarray()[rows], every.toarray()[rows])
    assert some.nnz == some[rows].nnz
    assert cosine_neighbours(matrix, 7, rows=rows[:0]).nnz == 0
    np.testing.assert_array_equal(cosine_neighbours(matrix, 7).toarray(), every.toarray())


def test_one_fit_of_neighbours_serves_profiles_of_other_candidates():
    """The neighbours of candidates that only the second profiles hold are looked up then."""
    inputs, zeros = make_world(), PopularityScorer(np.zeros(30, np.int64))
    learned = LearnedFrom.splits(inputs, (TRAIN,), True)
    fit = profile_models.item_knn((3, 5), 30).learn(learned)
    for setting, part in (((3,), range(0, 9)), ((3,), range(5, 30)), ((9,), range(5, 30))):
        profiles = sparse.csr_matrix(np.eye(30, dtype=np.float32)[list(part)])
        scores = fit(setting)(Asked(profiles, zeros))(np.arange(len(part)))
        expected = cosine_neighbours(learned.matrix, setting[0]).toarray()[list(part)]
        np.testing.assert_array_equal(scores, expected)


def test_blocks_of_neighbours_count_no_more_pairs_than_allowed(monkeypatch):
    monkeypatch.setattr(closed_form_neighbours, "_PAIRS_AT_ONCE", 200)
    matrix = sparse.random(50, 30, 0.3, "csr", np.float32, 0)
    choices = np.diff(matrix.indptr)
    pairs = np.array([choices[own.indices].sum() for own in matrix.T.tocsr()])
    blocks = list(closed_form_neighbours._blocks(matrix.tocsc(), choices))
    assert [start for start, _ in blocks] == [0, *(stop for _, stop in blocks[:-1])]
    assert blocks[-1][1] == 30
    assert len(blocks) > 3
    for start, stop in blocks:
        assert stop == start + 1 or pairs[start:stop].sum() <= 200


def test_settings_name_what_applies_and_nothing_else():
    baselines = fitted(make_world(texts=True))
    as_json = {name: list(each.settings.as_json()) for name, each in baselines.items()}
    one = ["interactions", "chosen_from", "chosen_for", "search", "validation"]
    several = ["interactions", "chosen_for", "search", "validation"]
    assert as_json == {
        "popularity": ["interactions", "counts"],
        "recent_popularity": ["interactions", "days", *one[1:]],
        "item_knn": ["neighbours", *one],
        "ease": ["lambda", *one],
        "rdlae": ["lambda", "dropout", "diagonal", *several],
        "recent_ease": ["lambda", "half_life", *several],
        "ials": ["factors", "regularization", "alpha", *several],
        "bm25": ["k1", "b", "analyser"],
        "hybrid": ["retrieval_weight", "chosen_for", "search", "validation"],
    }


def test_what_a_linear_model_prepares_ahead_changes_no_score(monkeypatch):
    """More candidates than queries, so that there is something to prepare."""
    random = np.random.default_rng(0)
    positions = sparse.csr_matrix((random.random((50, 90)) < 0.1).astype(np.float32))
    model = linear_models.solve(positions[:20], l2=2.0).model()
    expected = model(positions)
    monkeypatch.setattr(collaborative, "_QUERIES_AHEAD", 8)
    scorer = ProfileScorer(positions, model, lambda queries: np.zeros((len(queries), 90)))
    for queries in (np.arange(3), np.arange(3, 12), np.arange(12, 50), np.array([7, 2])):
        np.testing.assert_allclose(scorer(queries), expected[queries], atol=1e-6)


def test_feedback_is_chosen_where_answers_use_other_words():
    """The passage on pills has no word of the question; the first passage leads to it."""
    postings = build_postings(["fever cough", "other", "cough pills"], k1=1.2, b=0.75)
    asked = [
        QuerySet(
            GroundTruth.from_lists([[2]] * 2), Ragged.from_lists([[], []]), texts=["fever"] * 2
        )
    ]
    everyone = np.ones(3, bool)
    share, means = tune_feedback(postings, asked, everyone, "ndcg@2", 0.3)
    assert share == 0.3
    assert means[0.0] == 0
    assert means[0.3] == pytest.approx(1 / np.log2(3))
    hidden = np.array([True, True, False])
    assert tune_feedback(postings, asked, hidden, "ndcg@2", 0.3)[1][0.3] == 0
    nobody = [asked[0].take(np.zeros(0, np.int64))]
    assert tune_feedback(postings, nobody, everyone, "ndcg@2", 0.3) == (0.3, {})
