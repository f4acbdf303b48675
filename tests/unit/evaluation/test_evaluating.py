from dataclasses import replace

import numpy as np
import pytest

from tests.unit.evaluation.world import CONFIG, make_world, reordered
from tfrs_twotower.data.corpus import strings
from tfrs_twotower.evaluation import breakdown
from tfrs_twotower.evaluation.evaluated_data import judged_on
from tfrs_twotower.evaluation.evaluating import describe_protocol, evaluate
from tfrs_twotower.evaluation.written_documents import write_json
from tfrs_twotower.ranking import GroundTruth

BASELINES = ["popularity", "recent_popularity", "item_knn", "ease", "rdlae", "recent_ease", "ials"]


def test_the_document_has_the_agreed_keys(evaluation, tmp_path):
    document = evaluation.document.as_json()
    assert set(document) == {
        "dataset", "protocol", "leakage_check", "systems", "funnel", "comparisons",
        "verdict", "embedding_space", "timings", "environment",
    }  # fmt: skip
    assert set(document["systems"]) == {
        "retrieval", "cascade", *BASELINES,
    }  # fmt: skip
    entry = document["systems"]["ease"]["metrics"]["recall@5"]
    assert set(entry) == {"mean", "ci95", "queries"}
    assert entry["ci95"][0] <= entry["mean"] <= entry["ci95"][1]
    assert entry["queries"] == 40
    assert document["funnel"]["ann_overlap@100"] is None
    assert document["funnel"]["cascade"] == document["funnel"]["retrieval_exact"]
    assert document["funnel"]["pool"] is None
    assert {entry["a"] for entry in document["comparisons"]} == {"retrieval"}
    for comparison in document["comparisons"]:
        assert {"a", "b", "metric", "difference", "p", "test"} <= set(comparison)
    write_json(tmp_path / "evaluation.json", evaluation.document)
    assert "NaN" not in (tmp_path / "evaluation.json").read_text()


def test_the_protocol_says_what_earlier_means(inputs):
    untimed = replace(inputs, split=replace(inputs.split, has_time=False))
    ordered = replace(inputs, split=replace(untimed.split, has_order=True))
    said = [
        describe_protocol(of, CONFIG, {}, {}, refit=False, seed=1).earlier
        for of in (inputs, untimed, ordered)
    ]
    assert said == [
        "earlier in time",
        "earlier in the files: the interactions have no times",
        "earlier by the column of positions: the interactions have no times",
    ]


def test_retrieval_finds_its_community(evaluation):
    ranked = evaluation.runs["retrieval"].ranked
    assert np.mean(ranked[:, :5] % 2 == (np.arange(40) % 2)[:, None]) > 0.95


def test_seen_candidates_are_never_ranked(evaluation, inputs):
    for run in evaluation.runs.values():
        for query in range(40):
            assert not set(run.ranked[query]) & set(inputs.test.seen[query])


def test_candidates_that_are_not_eligible_are_never_ranked(inputs):
    eligible = np.arange(30) % 3 != 0
    evaluation = evaluate(replace(inputs, eligible=eligible), CONFIG)
    for run in evaluation.runs.values():
        for ranking in (run.main, *run.of_metric.values()):
            assert eligible[ranking.ranked[ranking.ranked >= 0]].all()


def test_what_is_served_but_not_ranked_is_counted(inputs, two_stages):
    """A third of the candidates is left out; the served lists hold them nevertheless."""
    eligible = np.arange(30) % 3 != 0
    assert evaluate(inputs, CONFIG).document.funnel.unranked is None
    for world, stage in ((inputs, "retrieval"), (two_stages, "cascade")):
        found = evaluate(replace(world, eligible=eligible), CONFIG).document.funnel.unranked
        served = evaluate(world, CONFIG).runs[stage].ranked
        assert (found.candidates, found.stage) == (10, stage)
        for k in CONFIG.ks:
            shown = served[:, :k][served[:, :k] >= 0]
            assert found.taken[f"taken@{k}"] == pytest.approx((shown % 3 == 0).mean())


def test_a_tuned_baseline_is_measured_with_the_setting_of_each_metric(inputs):
    """Validation at random, so that no setting is the best in everything."""
    random = np.random.default_rng(0)
    unseen = [
        np.setdiff1d(np.arange(30), seen)
        for seen in map(inputs.validation.seen.__getitem__, range(40))
    ]
    truth = GroundTruth.from_lists([random.choice(rows, 3, replace=False) for rows in unseen])
    inputs = replace(inputs, validation=replace(inputs.validation, truth=truth))
    evaluation = evaluate(inputs, CONFIG.model_copy(update={"baselines": ("item_knn",)}))
    settings = evaluation.document.protocol.baselines["item_knn"]
    run = evaluation.runs["item_knn"]
    for metric, chosen in settings.chosen_for.items():
        alone = CONFIG.model_copy(
            update={"baselines": ("item_knn",), "item_knn_neighbours": chosen["neighbours"]}
        )
        expected = evaluate(inputs, alone).document.systems["item_knn"].metrics[metric]
        assert evaluation.document.systems["item_knn"].metrics[metric] == expected
        assert run.values(metric).mean() == expected.mean
    assert len({tuple(chosen.items()) for chosen in settings.chosen_for.values()}) > 1


def test_slices_add_up(evaluation):
    slices = evaluation.document.systems["retrieval"].slices
    candidates = [part.relevant for name, part in slices.items() if name.startswith("cand")]
    assert sum(candidates) == 80
    assert slices["queries_warm"].queries == 40
    assert slices["history_6-20"].queries == 40


def test_a_slice_holds_the_figures_of_its_own_system(inputs, evaluation):
    """Systems are measured together; each figure is computed anew here, query by query."""
    truth, (part,) = (
        inputs.test.truth,
        [part for part in breakdown.make_slices(inputs) if part.name == "candidates_tail"],
    )
    queries = np.unique(truth.relevant.owners[part.keep])
    means = set()
    for name in ("retrieval", "popularity", "item_knn"):
        ranked = evaluation.runs[name].ranking("recall@10").ranked
        values = []
        for query in queries:
            own = slice(*truth.relevant.offsets[query : query + 2])
            wanted = truth.relevant.values[own][part.keep[own]]
            values.append(np.isin(wanted, ranked[query, :10]).mean())
        figure = evaluation.document.systems[name].slices[part.name].metrics["recall@10"]
        assert figure.mean == pytest.approx(np.mean(values))
        assert figure.ci95[0] <= figure.mean <= figure.ci95[1]
        means.add(figure.mean)
    assert len(means) == 3


def test_without_refit_baselines_do_not_learn_from_validation(inputs):
    learned = evaluate(inputs, CONFIG, refit=True).runs["popularity"].ranked
    trained = evaluate(inputs, CONFIG, refit=False).runs["popularity"].ranked
    assert not np.array_equal(learned, trained)


def test_the_same_seed_gives_the_same_document(inputs, evaluation):
    assert evaluate(inputs, CONFIG, refit=True).document == evaluation.document


def test_a_second_stage_is_measured_beside_retrieval(cascade, evaluation):
    document, alone = cascade.document, evaluation.document
    assert document.systems["retrieval"] == alone.systems["retrieval"]
    assert document.systems["ease"] == alone.systems["ease"]
    assert document.embedding_space == alone.embedding_space
    retrieval, served = document.systems["retrieval"], document.systems["cascade"]
    assert served.metrics != retrieval.metrics
    assert served.metrics.keys() == retrieval.metrics.keys()
    assert served.slices.keys() == retrieval.slices.keys()
    pool = document.funnel.pool
    assert document.funnel.cascade == served.metrics
    assert pool.weights == {
        "retrieval": 0.2, "interaction_0": 1.0, "interaction_1": 0.5, "signal_0": -0.25,
    }  # fmt: skip
    for stage in ("retrieval", "cascade"):
        for k in CONFIG.ks:
            reached = document.systems[stage].metrics[f"recall@{k}"].mean
            kept = pool.kept[stage][f"kept@{k}"].mean
            assert reached == pytest.approx(pool.recall.mean * kept)
            assert reached <= pool.recall.mean
    assert pool.num_candidates == 12
    assert "the first 12 of exact retrieval" in document.protocol.cascade


def test_both_stages_are_compared_in_one_family(cascade):
    entries = cascade.document.comparisons
    pairs = [("cascade", "retrieval"), *(("cascade", name) for name in BASELINES)]
    pairs += [("retrieval", name) for name in BASELINES]
    assert [(entry.a, entry.b) for entry in entries[::3]] == pairs
    systems = cascade.document.systems
    for entry in entries:
        means = [systems[name].metrics[entry.metric].mean for name in (entry.a, entry.b)]
        assert entry.difference == pytest.approx(means[0] - means[1])
    smallest = min(entries, key=lambda entry: entry.p)
    assert smallest.p_holm == pytest.approx(min(1.0, len(entries) * smallest.p))


def test_the_order_of_the_queries_does_not_matter(inputs):
    turned = replace(inputs, test=reordered(inputs.test, np.arange(40)[::-1]))
    assert judged_on(turned) == judged_on(inputs)


def test_other_truth_queries_corpus_or_exclusions_cannot_be_compared(inputs):
    others_ids = strings([f"d{row}" for row in range(30)])
    few = np.arange(39)
    truth = inputs.test.truth
    others = [
        replace(inputs, test=reordered(inputs.test, few)),
        replace(inputs, test=replace(inputs.test, truth=replace(truth, gains=truth.gains * 2))),
        replace(inputs, test=replace(inputs.test, seen=inputs.validation.seen)),
        replace(inputs, eligible=np.arange(30) > 0),
        replace(inputs, corpus=replace(inputs.corpus, ids=others_ids)),
    ]
    assert len({judged_on(world) for world in (inputs, *others)}) == 6


def test_what_a_model_reads_does_not_matter(inputs):
    assert judged_on(make_world(texts=True)) == judged_on(inputs)
