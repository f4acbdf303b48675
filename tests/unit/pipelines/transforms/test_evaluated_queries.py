"""Relevant, seen and known candidates of evaluated queries, worked out by hand."""

import pyarrow as pa
import pytest
from apache_beam import Create

from pipelines.transforms import batches
from pipelines.transforms.evaluated_queries import FinishEvaluations
from pipelines.transforms.splits import Cutoffs
from tests.unit.pipelines.transforms.event_tables import (
    check,
    files_in,
    read_events,
    read_files,
    rows_of,
    run_beam,
    run_queries,
    spec_of,
)
from tfrs_twotower.specs import TEST, VALIDATION

CUTOFFS = Cutoffs(validation_from=10, test_from=20)


def run(spec, text, **options):
    return run_queries(spec, read_events(text), cutoffs=CUTOFFS, **options)


JUDGED = """
    query     candidate  time  label
    q         a          1     5
    q         b          2     1
    q         c          11    5
    q         c          12    4
    q         b          13    5
    q         d          14    1
    q         e          15    3
    q         a          21    5
    q         d          22    5
    q         f          23    4
    q         f          24    5
    q         g          25    2
    stranger  a          21    5
    stranger  new        22    5
    trained   a          1     5
    only_bad  a          1     1
    only_bad  b          21    2
    repeats   a          1     2
    repeats   a          21    5
"""


def test_relevant_are_new_positive_candidates_and_seen_are_all_earlier_ones():
    found = run(spec_of(), JUDGED)
    validation = """
        query  relevant  gain  seen  history  events
        q      c,e       5,3   a,b   b,a      2
    """
    check(found["validation"], validation)
    test = """
        query     relevant  gain  seen       history    events
        q         f         5     a,b,c,d,e  e,d,b,c,a  7
        stranger  a,new     5,5   -          -          0
    """
    check(found["test"], test)
    assert found["counts"]["test_queries_empty"] == 2  # only_bad and repeats
    assert found["counts"]["test_queries"] == 2
    # No draft is carried on for a query that is empty.
    assert len(rows_of(part for _, part in found["evaluations"])) == 3
    assert found["counts"]["validation_queries"] == 1
    assert found["counts"]["train_queries"] == 4
    assert "validation_queries_empty" not in found["counts"]


def test_repeats_count_where_the_split_says_so_and_nothing_is_left_out():
    found = run(spec_of({"kind": "temporal", "new_pairs_only": False}), JUDGED)
    check(found["validation"], "query relevant gain seen\nq b,c,e 5,5,3 -")
    test = """
        query     relevant  gain   seen  events
        q         a,d,f     5,5,5  -     7
        stranger  a,new     5,5    -     0
        repeats   a         5      -     1
    """
    check(found["test"], test)
    assert found["counts"]["test_queries_empty"] == 1


def test_known_queries_and_candidates_are_those_of_the_training_window():
    only = {"kind": "temporal", "known_queries_only": True, "known_candidates_only": True}
    text = """
        query     candidate  time  label
        q         a          1     5
        r         b          2     1
        r         v          11    5
        q         v          12    5
        q         b          21    4
        q         v          22    5
        q         new        23    5
        r         new        21    5
        fresh     a          12    5
        fresh     b          21    5
        stranger  a          21    5
    """
    found = run(spec_of(only), text)
    check(found["test"], "query relevant gain seen\nq b 4 a,v")  # b was met with label 1
    check(found["validation"], "query relevant\n")
    counts = found["counts"]
    assert (counts["test_queries_unknown"], counts["validation_queries_unknown"]) == (2, 1)
    assert (counts["test_queries_empty"], counts["validation_queries_empty"]) == (1, 2)
    without = run(spec_of({"kind": "temporal", "known_candidates_only": True}), text)
    check(without["test"], "query relevant\nq b\nfresh b\nstranger a")
    check(without["validation"], "query relevant\nfresh a")


def test_without_labels_every_event_is_positive_with_gain_one():
    spec = spec_of(label=None)
    spec = spec.model_copy(
        update={"relevance": spec.relevance.model_copy(update={"min_label": None})}
    )
    found = run(spec, "query candidate time label\nq a 1 7\nq b 21 7\nq b 22 8")
    check(found["train"], "candidate weight\na 1")
    check(found["test"], "relevant gain\nb 1")


def test_what_is_learned_from_data_comes_from_training_events():
    found = run(
        spec_of(),
        """
        query  candidate  time  label
        q      a          9     5
        q      b          1     1
        q      c          10    5
        q      a          20    5
        r      a          3     4
        v      a          12    5
        t      d          25    5
        """,
        recent_days=6 / 86_400,
    )
    # Events, positive ones, positive ones in the last six seconds before the cut-off.
    assert found["tallies"] == {"a": (2, 2, 1), "b": (1, 0, 0)}
    assert {row["entity_id"]: row["events"] for row in found["trained"]} == {"q": 2, "r": 1}
    assert found["windows"] == [{0: (3, 2, 1, 9), 1: (2, 2, 10, 12), 2: (2, 2, 20, 25)}]
    assert found["counts"]["train_queries"] == 2


@pytest.mark.parametrize("known_only", [False, True])
def test_only_candidates_with_a_training_event_stay_where_the_split_says_so(known_only, tmp_path):
    def draft(split, query, relevant, gains):
        columns = {"_query_id": [query], "_relevant": [relevant], "split": [split]}
        gain = pa.array([gains], pa.list_(pa.float32()))
        return pa.table(columns).append_column("_gain", gain)

    everything = (["a", "new", "b"], [5.0, 4.0, 3.0])
    drafts = [
        draft(VALIDATION, "q", *everything),
        # Its draft stays apart from that of validation.
        pa.concat_tables([draft(TEST, "q", ["new"], [4.0]), draft(TEST, "r", *everything)]),
    ]

    def build(root):
        part = batches.packed(pa.table({"candidate_id": ["a", "b"]}))
        tallies = root | "Tallies" >> Create([(0, part)])
        parts = root | "Drafts" >> Create([(0, batches.packed(one)) for one in drafts])
        files = files_in(tmp_path, spec_of())
        finished = (parts, tallies) | FinishEvaluations(known_only, 1, files)
        return {"counts": finished.counts, "written": finished.written}

    found = run_beam(build)
    written = read_files(tmp_path, spec_of())
    kept = "a,b 5,3" if known_only else "a,new,b 5,4,3"
    check(written["validation"], f"query relevant gain\nq {kept}")
    of_test_q = [] if known_only else ["q new 4"]
    check(written["test"], "\n".join(["query relevant gain", f"r {kept}", *of_test_q]))
    counts = {name: number for name, number in found["counts"] if number}
    empty = {"test_queries_empty": 1, "test_queries": 1} if known_only else {"test_queries": 2}
    finished = {"validation_finished": 1, "test_finished": 2}
    assert counts == {"validation_queries": 1, **finished, **empty}
