"""What a report advises where the served system is behind a baseline."""

import re

import pytest

from tests.unit.evaluation.documents import evaluation_document, figure, system_figures
from tfrs_twotower.config import RunConfig
from tfrs_twotower.evaluation.evaluation_document import Figure
from tfrs_twotower.evaluation.remedies import Served, advice
from tfrs_twotower.evaluation.verdict import verdict_of
from tfrs_twotower.specs import FeatureSpec

LAST = "Then let `twotower tune RUN.yaml --workdir DIR --minutes 20` search the other settings."


def behind(**metrics):
    """Standings in which every named baseline is ahead in one metric and level in another."""
    return {name: {"ndcg@10": "level", metric: "behind"} for name, metric in metrics.items()}


@pytest.mark.parametrize(
    ("baseline", "member", "setting"),
    [
        ("ease", "ease_all", "set `pre_ranking.ease: {}`"),
        ("rdlae", "ease_8", "set `pre_ranking.ease: {}`"),
        ("ials", "ease_all", "set `pre_ranking.ease: {}`"),
        ("item_knn", "item_knn_2", "set `pre_ranking.item_knn: {}`"),
        ("popularity", "log_count", "set `pre_ranking.popularity_days: [null, 30, 7]`"),
        ("recent_popularity", "log_count_7d", "set `pre_ranking.popularity_days"),
        ("bm25", "bm25", "set `pre_ranking.bm25: {}`"),
    ],
)
def test_the_setting_that_makes_the_baseline_a_member(baseline, member, setting):
    against = behind(**{baseline: "recall@20"})
    first, last = advice("cascade", against, Served(("retrieval", "interaction_0")))
    assert "in recall@20: " + setting in first
    assert last == LAST
    # Where it is a member already, no setting is missing, and its settings are to be searched for.
    already, _ = advice("cascade", against, Served(("retrieval", member)))
    assert "is a member already" in already
    assert "`twotower tune" in already
    (alone, _) = advice("retrieval", against, Served())
    assert "or add a second stage (`pre_ranking`) with" in alone


def test_baselines_that_one_setting_mends_are_one_step():
    against = behind(ease="recall@20", rdlae="recall@100", item_knn="recall@20", bm25="recall@20")
    steps = advice("cascade", against, Served(("retrieval",)))
    assert [step.split(":")[0] for step in steps] == [
        "Behind EASE and RDLAE in recall@20 and recall@100",
        "Behind item kNN in recall@20",
        "Behind BM25 in recall@20",
        LAST,
    ]


def test_a_pool_whose_best_order_would_not_reach_it_is_a_limit_of_the_first_stage():
    against = behind(ease="recall@100", bm25="recall@100")
    served = Served(("retrieval", "ease_all"), {"ease": ["recall@100"], "bm25": ["ndcg@10"]})
    of_ease, of_bm25, _ = advice("cascade", against, served)
    assert "the first stage is the limit in recall@100" in of_ease
    assert "Set `model.wide: {}`" in of_ease
    assert "a larger `pre_ranking.num_candidates`" in of_ease
    assert "set `pre_ranking.bm25: {}`" in of_bm25  # limited only where it is level


def test_a_report_knows_its_members_and_the_limit_of_its_pool():
    document = evaluation_document(
        systems={
            name: system_figures({"recall@20": mean, "ndcg@10": 0.1})
            for name, mean in {"retrieval": 0.3, "cascade": 0.3, "ease": 0.5, "ials": 0.39}.items()
        }
    )
    best = {"recall@20": Figure(**figure(0.4)), "ndcg@10": Figure(**figure(0.3))}
    pool = document.funnel.pool.model_copy(update={"best": best})
    funnel = document.funnel.model_copy(update={"pool": pool})
    served = Served.of(document.model_copy(update={"funnel": funnel}))
    assert served.features == tuple(document.funnel.pool.weights)
    assert served.limited["ease"] == ["recall@20"]
    assert served.limited["ials"] == []
    assert Served.of(evaluation_document(funnel={"pool": None})) == Served()
    # A document of an earlier version says nothing of the best order: nothing is limited.
    assert not any(Served.of(evaluation_document()).limited.values())


def test_the_verdict_of_a_report_has_the_advice_for_its_own_members():
    document = evaluation_document()
    verdict = verdict_of(document)
    expected = advice(verdict.system, verdict.against, Served.of(document), gains_from_fusion=False)
    assert set(expected) <= set(verdict.advice)


def test_ahead_there_is_nothing_to_say_and_level_is_no_proof_of_equality():
    assert advice("retrieval", {"ease": {"recall@20": "ahead"}}, Served()) == ()
    assert advice("retrieval", {"ease": {"recall@20": "untested"}}, Served()) == ()
    (step,) = advice("retrieval", {"ease": {"recall@20": "level"}}, Served())
    assert "no significant difference" in step
    (fused, _) = advice(
        "retrieval", {"ease": {"recall@20": "level"}}, Served(), gains_from_fusion=True
    )
    assert "`index.kind: hybrid`" in fused


def test_the_settings_that_the_advice_names_exist():
    """Each key between backticks is one of the run config or of the feature spec."""
    every = behind(
        **dict.fromkeys(("ease", "popularity", "recent_popularity", "item_knn"), "recall@20")
    )
    steps = advice("retrieval", every, Served(), gains_from_fusion=True)
    limited = {name: ["recall@20"] for name in every}
    steps += advice("cascade", every | behind(bm25="recall@20"), Served((), limited))
    steps += advice("retrieval", {"ease": {"recall@20": "level"}}, Served())
    schemas = str(RunConfig.model_json_schema()) + str(FeatureSpec.model_json_schema())
    for code in re.findall("`([^`]+)`", " ".join(steps)):
        if not code.startswith("twotower "):
            for part in re.split(r"[.:,\s{}\[\]]+", code):
                known = not part or part.isdecimal() or part in ("true", "null")
                assert known or f"'{part}'" in schemas, code
