"""Tables at the edge of what makes sense, through every stage: a bundle that answers, no crash."""

import json
from copy import deepcopy

import pytest

from serving.bundle.loading import load_bundle
from tests.fixtures.odd_tables import SPEC, events, items, run_all, write_run
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.errors import ConfigError

pytestmark = pytest.mark.integration
STAGES = ["preprocess", "train", "embed", "build-index", "export", "evaluate"]


def split_by_column(rows, last):
    """The last rows of each user go to the named split."""
    of_user = {}
    for row in rows:
        of_user.setdefault(row[0], []).append(row)
    return [
        (*row[:4], last if own.index(row) >= len(own) - 2 else "train")
        for own in of_user.values()
        for row in own
    ]


def spec_with(**changes):
    return {**deepcopy(SPEC), **changes}


def answer(context):
    bundle = load_bundle(context.layout.bundle / "odd")
    return bundle.ask("serving_default", bundle.blank("query_embedding"))["candidate_ids"][0]


GIVEN = spec_with(split={"kind": "given", "new_pairs_only": False})
CASES = {
    "one_query_and_one_candidate": (events(1, 1, each=30), items(1), SPEC),
    "nothing_but_ids": (events(), items(title="", genre="", price=""), SPEC),
}
MORE_CASES = {
    "all_alike": (
        events(rating=3), items(title="same", genre="same", price="7"),
        spec_with(relevance={"min_label": 3}),
    ),
    "no_validation": (split_by_column(events(), "test"), items(price="1e3{}"), GIVEN),
    "one_query": (events(num_users=1, each=30), items(), SPEC),
    "one_candidate": (events(num_items=1), items(1), SPEC),
    "two_candidates": (events(num_items=2), items(2), SPEC),
    "equal_numbers": (events(), items(price="7"), SPEC),
    "no_numbers": (events(), items(price=""), SPEC),
    "empty_texts": (events(), items(title=""), SPEC),
    "one_category": (events(), items(genre="same"), SPEC),
    "emoji_and_long_titles": (events(), items(title="🎬 " + "long " * 200 + "{}"), SPEC),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_CASES)]
)
def test_every_stage_runs(tmp_path, name):
    rows, own_items, spec = {**CASES, **MORE_CASES}[name]
    context, ran = run_all(write_run(tmp_path, rows, own_items, spec), tmp_path / "work")
    assert ran == STAGES
    expected = min(5, len(own_items))
    found = [candidate for candidate in answer(context) if candidate]
    assert len(set(found)) == expected
    report = json.loads((context.layout.report / "evaluation.json").read_text())
    assert {"retrieval", "popularity"} <= set(report["systems"])


NO_TEST = {
    "given": (split_by_column(events(), "validation"), {"kind": "given"}, 6),
    "given_without_validation": (events(), {"kind": "given"}, 0),
    "temporal": (events(), {**SPEC["split"], "test_fraction": 0, "validation_fraction": 0}, 0),
    "per_query_last": (events(), {"kind": "per_query_last", "test": 0, "validation": 1}, 6),
}


@pytest.mark.parametrize(
    "name",
    [
        "temporal",
        *(pytest.param(n, marks=pytest.mark.slow) for n in NO_TEST if n != "temporal"),
    ],
)
def test_training_on_everything_gives_a_bundle_and_no_report(tmp_path, capsys, name):
    rows, split, num_validation = NO_TEST[name]
    spec = spec_with(split={**split, "new_pairs_only": False})
    context, ran = run_all(write_run(tmp_path, rows, items(), spec), tmp_path / "work")
    assert ran == STAGES[:-1]
    counts = read_manifest(context.layout.preprocessed, "preprocessed").counts
    assert (counts["test_queries"], counts["validation_queries"]) == (0, num_validation)
    assert counts["test_interactions"] == 0
    assert len(answer(context)) == 5
    said = capsys.readouterr().err
    assert "no test query has a relevant candidate, so there will be a bundle and no report" in said
    assert "evaluate is left out: the split has no test query" in said
    assert not context.layout.report.exists()


def test_what_a_later_stage_needs_is_said_before_training(tmp_path):
    run = write_run(tmp_path, events(), items(), GIVEN, training={"refit": True})
    message = "^run 'odd': training.refit is set, but the split has no validation query"
    with pytest.raises(ConfigError, match=message):
        run_all(run, tmp_path / "work")
    assert (tmp_path / "work" / "preprocessed").exists()
    assert not any((tmp_path / "work").glob("*model*"))
