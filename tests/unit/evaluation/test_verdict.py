"""How the model stands against each baseline: as data, as a badge and in one sentence."""

from types import SimpleNamespace

import pytest

from tests.unit.evaluation.documents import evaluation_document
from tfrs_twotower.evaluation.verdict import against_each, badge, judge, verdict_of


def found(metric, difference, significant=True):
    return SimpleNamespace(metric=metric, difference=difference, significant=significant)


AHEAD, LEVEL, BEHIND = (0.1, True), (-0.1, False), (-0.1, True)


def differences(**by_baseline):
    """For each baseline its difference in ndcg@10, recall@20 and recall@100."""
    metrics = ("ndcg@10", "recall@20", "recall@100")
    return {
        name: [found(metric, *one) for metric, one in zip(metrics, given, strict=True)]
        for name, given in by_baseline.items()
    }


@pytest.mark.parametrize(
    ("given", "standing", "words"),
    [
        ({"ease": [AHEAD] * 3, "ials": [AHEAD] * 3}, "ahead", "ahead of every baseline"),
        ({"ease": [AHEAD] * 3, "item_knn": [AHEAD, LEVEL, BEHIND]}, "behind",
         "behind item kNN in recall@100"),
        ({"ease": [BEHIND] * 3, "item_knn": [AHEAD, BEHIND, BEHIND], "bm25": [AHEAD] * 3},
         "behind", "behind EASE, item kNN in recall@20 and recall@100"),
        ({"ease": [BEHIND] * 3, "ials": [BEHIND] * 3}, "behind", "behind every baseline"),
        ({name: [BEHIND, AHEAD, AHEAD] for name in ("ease", "ials", "rdlae", "bm25")}, "behind",
         "behind 4 of 4 baselines"),
        ({"ease": [LEVEL, AHEAD, AHEAD], "ials": [AHEAD] * 3}, "level",
         "level with EASE in ndcg@10"),
        ({"ease": [LEVEL] * 3, "ials": [LEVEL] * 3}, "level", "level with every baseline"),
        ({}, "untested", "not compared with a baseline"),
    ],
)  # fmt: skip
def test_the_badge(given, standing, words):
    verdict = judge("retrieval", differences(**given))
    assert (verdict.standing, badge(verdict)) == (standing, words)


def test_a_higher_mean_that_is_not_significant_is_not_ahead():
    verdict = judge("cascade", {"ease": [found("recall@20", 0.4, significant=False)]})
    assert verdict.against == {"ease": {"recall@20": "level"}}


def test_the_sentence_names_every_baseline_once():
    given = differences(
        popularity=[AHEAD] * 3,
        recent_popularity=[AHEAD] * 3,
        item_knn=[AHEAD, LEVEL, BEHIND],
        ease=[LEVEL] * 3,
        ials=[BEHIND] * 3,
    )
    assert against_each(judge("cascade", given)) == (
        "Cascade: ahead of popularity and recent popularity; level with EASE; behind iALS; "
        "behind in recall@100, level in recall@20, ahead in ndcg@10 against item kNN."
    )
    assert against_each(judge("cascade", given), "my run").startswith("my run: ahead of")
    untested = judge("retrieval", differences(ease=[AHEAD] * 3), tested=False)
    assert against_each(untested) == "Retrieval: not tested against EASE."
    assert badge(untested) == "not tested against the baselines"
    assert untested.against == {
        "ease": dict.fromkeys(("ndcg@10", "recall@20", "recall@100"), "untested")
    }
    assert "no baseline" in against_each(judge("retrieval", {}))


def test_the_verdict_is_that_of_the_served_stage_and_leaves_the_fusion_out():
    document = evaluation_document()
    verdict = verdict_of(document)
    assert verdict.system == "cascade"
    assert "hybrid" not in verdict.against
    assert "retrieval" not in verdict.against
    assert set(verdict.against) == {
        entry.b for entry in document.comparisons if entry.b not in ("hybrid", "retrieval")
    }
    alone = verdict_of(evaluation_document(funnel={"pool": None}))
    assert alone.system == "retrieval"


def test_an_evaluation_holds_its_verdict(cascade):
    assert cascade.document.verdict == verdict_of(cascade.document)
    assert cascade.document.as_json()["verdict"]["system"] == "cascade"
