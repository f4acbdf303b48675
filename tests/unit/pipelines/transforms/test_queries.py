"""Split edges, joined features and limits of whole tables, worked out by hand."""

import random

import pytest

from pipelines.transforms.splits import Cutoffs
from tests.unit.pipelines.transforms.event_tables import (
    BEFORE,
    HOUR,
    OTHERS,
    check,
    check_splits,
    read_events,
    read_queries,
    run_queries,
    spec_of,
)

CUTOFFS = Cutoffs(validation_from=10, test_from=20)
EXAMPLES = ("train", "fresh", "validation", "test", "interactions")
LAST = {"kind": "per_query_last", "test": 1, "validation": 1}


def run(spec, text, **options):
    if spec.split.kind == "temporal":
        options = {"cutoffs": CUTOFFS} | options
    return run_queries(spec, read_events(text), **options)


def test_an_event_at_the_cutoff_is_on_the_later_side():
    found = run(
        spec_of(features=[BEFORE, HOUR]),
        """
        query  candidate  time
        q      c          20
        q      a          9
        q      b          10
        q      v          19
        q      d          21
        """,
    )
    check_splits(found, "candidate split\na train\nb validation\nv validation\nc test\nd test")
    check(found["train"], "candidate time history\na 9 -")
    check(found["fresh"], "candidate time history\nb 10 a\nv 19 b,a")
    columns = "time hour history seen relevant gain events"
    check(found["validation"], f"{columns}\n10 10 a a b,v 5,5 1")
    check(found["test"], f"{columns}\n20 20 v,b,a a,b,v c,d 5,5 3")


def test_only_training_events_are_counted_and_only_their_queries_are_learned_from():
    found = run(
        spec_of(),
        """
        query  candidate  time  label
        q      a          1     5
        q      a          2     1
        q      b          9     1
        q      b          10    5
        q      c          20    5
        later  a          10    5
        last   a          20    5
        """,
    )
    # Events, positives, and positives of the last day, which holds them all.
    assert found["tallies"] == {"a": (2, 1, 1), "b": (1, 0, 0)}
    assert [(row["events"], row["entity_id"]) for row in found["trained"]] == [(3, "q")]
    assert found["counts"]["train_queries"] == 1


def test_the_last_events_of_each_query_by_time_and_then_by_place_in_the_source():
    found = run(
        spec_of(LAST, features=[BEFORE, HOUR]),
        """
        query  candidate  time  label
        tied   d          5     5
        tied   b          5     5
        tied   a          4     5
        tied   c          5     5
        late   z          9     5
        late   y          8     5
        late   x          7     1
        short  x          1     5
        short  y          2     5
        one    x          3     5
        """,
    )
    expected = """
        query  candidate  split
        tied   a          train
        tied   d          train
        tied   b          validation
        tied   c          test
        late   x          train
        late   y          validation
        late   z          test
        short  x          train
        short  y          train
        one    x          train
    """
    check_splits(found, expected)
    train = """
        query  candidate  history
        tied   a          -
        tied   d          a
        short  x          -
        short  y          x
        one    x          -
    """
    check(found["train"], train)
    check(found["fresh"], "query candidate history\ntied b a\nlate y x")  # d is of b's second
    check(found["validation"], "query time history relevant\ntied 5 d,a b\nlate 8 x y")
    check(found["test"], "query hour history relevant seen\ntied 5 b,d,a c a,b,d\nlate 9 y,x z x,y")


def test_shares_of_a_query_round_down():
    split = {"kind": "per_query_last", "test": 0.4, "validation": 0.2}
    lines = [f"five c{at} {at}" for at in range(5)] + [f"four c{at} {at}" for at in range(4)]
    found = run(spec_of(split), "\n".join(["query candidate time", *lines, "one c0 0"]))
    expected = """
        query  candidate  split
        five   c0         train
        five   c1         train
        five   c2         validation
        five   c3         test
        five   c4         test
        four   c0         train
        four   c1         train
        four   c2         train
        four   c3         test
        one    c0         train
    """  # floor(0.4 x 5) = 2 and floor(0.2 x 5) = 1; floor(1.6) = 1 and floor(0.8) = 0
    check_splits(found, expected)
    check(found["test"], "query history events\nfive c2,c1,c0 3\nfour c2,c1,c0 3")
    check(found["validation"], "query history events\nfive c1,c0 2")


def test_a_column_of_the_interactions_says_the_split_whatever_the_time():
    spec = spec_of({"kind": "given", "validation": "dev"}, split="split")
    found = run(
        spec,
        """
        query  candidate  time  split
        q      a          3     train
        q      b          1     dev
        q      c          2     test
        q      d          4     hold
        q      e          5     -
        q      f          4     train
        """,
    )
    check_splits(found, "candidate split\na train\nf train\nb validation\nc test")
    assert sorted(found["bad"]) == [
        ("interactions", 4, "q", "split 'hold' is none of train, dev, test", "", ""),
        ("interactions", 5, "q", "split '' is none of train, dev, test", "", ""),
    ]
    check(found["train"], "candidate history\na -\nf a")
    check(found["fresh"], "candidate history\nb -")
    check(found["validation"], "time history seen relevant events\n1 f,a a,f b 2")
    check(found["test"], "time history seen relevant events\n2 f,a,b a,b,f c 3")


def test_a_column_of_the_queries_says_the_split():
    features = [BEFORE, {"name": "age", "kind": "numeric"}]
    spec = spec_of({"kind": "given"}, features=features, queries={"split": "part"})
    queries = read_queries(spec, "query part age\nq train 1\nt test 2\nw rest 3")
    text = "query candidate time\nq a 1\nt a 2\nw a 3\nx a 4"
    found = run(spec, text, queries=queries)
    check_splits(found, "query split\nq train\nt test")
    assert {(key, reason) for _, _, key, reason, *_ in found["bad"]} == {
        ("w", "split 'rest' is none of train, validation, test"),
        ("x", "its query has no record, so its split is not known"),
    }
    check(found["train"], "query age\nq 1")
    check(found["test"], "query age history\nt 2 -")
    assert [(row["events"], row["entity_id"]) for row in found["trained"]] == [(1, "q")]


def test_a_session_that_straddles_the_cutoff_is_of_the_split_where_it_began():
    found = run(
        spec_of(session="session"),
        """
        query  candidate  time  session
        q      a          9     s
        q      b          11    s
        q      c          10    -
        q      d          19    t
        r      e          12    s
        q      f          25    t
        q      g          25    u
        """,
    )
    expected = """
        query  candidate  time  split
        q      a          9     train
        q      b          11    train
        r      e          12    train
        q      c          10    validation
        q      d          19    validation
        q      f          25    validation
        q      g          25    test
    """
    check_splits(found, expected)
    # c at 10 s lies between a and b, and b must not see it.
    train = "query candidate time history\nq a 9 -\nq b 11 a\nr e 12 -"
    check(found["train"], train)
    check(found["fresh"], "candidate time history\nc 10 a\nd 19 b,c,a\nf 25 d,b,c,a")
    check(found["validation"], "query time history relevant\nq 10 b,a c,d,f")
    check(found["test"], "query time history relevant\nq 20 f,d,b,c,a g")


COLOURED = [BEFORE, {"name": "colour", "kind": "categorical"}, {"name": "age", "kind": "numeric"}]


def test_features_are_joined_by_the_id_of_the_query():
    own = {"name": "own", "kind": "id", "column": "query"}
    joined = {"name": "joined", "kind": "timestamp", "column": "since"}
    spec = spec_of(features=[*COLOURED, own, joined, HOUR], queries={})
    queries = read_queries(
        spec,
        """
        query   colour  age  since
        q       red     30   77
        idle    grey    50   77
        q       blue    31   88
        r       -       -    -
        """,
    )
    text = "query candidate time\nq a 1\nr a 2\nnone a 3\nq b 21\nnone b 22"
    found = run(spec, text, queries=queries)
    train = """
        query  colour  age  own   joined  hour
        q      red     30   q     77      1
        r      -       nan  r    -1e+18      2
        none   -       nan  none -1e+18      3
    """
    check(found["train"], train)
    check(found["test"], "query colour age joined hour\nq red 30 77 20\nnone - nan -1e+18 20")
    assert found["bad"] == [("queries", 3, "q", "duplicate query id", "", "")]
    assert found["counts"]["interactions_without_query_record"] == 2
    assert found["counts"]["queries_without_interactions"] == 1
    trained = {row["entity_id"]: (row["events"], row["value:colour"]) for row in found["trained"]}
    assert trained == {"q": (1, "red"), "r": (1, ""), "none": (1, "")}


@pytest.mark.parametrize(
    ("history", "times", "dropped"), [(BEFORE, [3, 4], 1 + 3), (OTHERS, [1, 2, 3, 4], 1)]
)
def test_events_beyond_the_limit_are_counted_where_they_cannot_be_examples(history, times, dropped):
    found = run(
        spec_of({"kind": "temporal", "new_pairs_only": False}, features=[history]),
        """
        query  candidate  time  label
        q      no         1     1
        q      a          1     5
        q      b          2     5
        q      c          3     5
        q      d          4     5
        q      v          11    5
        q      w          12    5
        q      x          13    5
        q      t          21    5
        """,
        limit=2,
    )
    lines = [f"{time} {candidate}" for time, candidate in zip(range(1, 5), "abcd", strict=True)]
    check(found["train"], "\n".join(["time candidate", *lines[times[0] - 1 :]]))
    check(found["fresh"], "time candidate history\n12 w d,c\n13 x w,d,c")
    check(found["test"], "history events seen\nx,w,d,c 8 -")
    assert found["counts"]["events_without_example"] == dropped
    assert found["counts"]["train_examples"] == len(times)
    assert found["counts"]["fresh_examples"] == 2


def test_beyond_the_limit_an_early_event_of_a_later_split_is_no_training_example():
    found = run(
        spec_of({"kind": "given"}, features=[OTHERS], split="split"),
        """
        query  candidate  time  split
        q      t          1     test
        q      v          2     validation
        q      a          3     train
        q      b          4     train
        """,
        limit=1,
    )
    check(found["train"], "candidate history\na b\nb -")  # of b's example only b was kept
    check(found["fresh"], "candidate history\nv -")


@pytest.mark.parametrize(
    ("split", "history"), [({"kind": "temporal"}, BEFORE), (LAST, OTHERS)], ids=["temporal", "last"]
)
def test_the_order_of_the_tables_elements_changes_nothing(split, history):
    dice = random.Random(3)
    lines = [
        f"q{dice.randrange(4)} c{dice.randrange(30)} {dice.randrange(25)} {dice.randrange(1, 6)}"
        for _ in range(60)
    ]
    events = read_events("\n".join(["query candidate time label", *lines]))
    spec = spec_of(split, features=[history, *COLOURED[1:]], queries={})
    queries = read_queries(spec, "query colour age\nq0 red 1\nq0 blue 2\nq1 grey 3\nq7 grey 3")
    cutoffs = CUTOFFS if split["kind"] == "temporal" else None

    def outputs():
        found = run_queries(spec, events, queries=queries, cutoffs=cutoffs, limit=8)
        as_they_are = {name: found[name] for name in ("counts", "tallies", "windows")}
        return as_they_are | {name: sorted(map(repr, found[name])) for name in (*EXAMPLES, "bad")}

    first = outputs()
    assert all(first[name] for name in EXAMPLES)
    for _ in range(2):
        dice.shuffle(events)
        dice.shuffle(queries)
        assert outputs() == first


def test_a_server_is_asked_with_the_events_of_all_windows():
    colour = {"name": "colour", "kind": "categorical"}
    loved = {"name": "loved", "kind": "history", "max_length": 2, "positives_only": True}
    spec = spec_of(features=[colour, BEFORE, loved, HOUR], queries={})
    queries = read_queries(spec, "query colour\nq blue\nnew red")
    text = """
        query  candidate  time  label
        q      a          9     5
        q      b          10    5
        q      bad        19    1
        q      a          20    5
        q      t          21    5
        odd    t          1     5
    """
    found = run(spec, text, queries=queries)
    assert [tuple(row.values()) for row in found["queries"]] == [
        ("new", [], "red", [], [], None),
        ("odd", ["t"], "", ["t"], ["t"], None),
        ("q", ["a", "b", "bad", "t"], "blue", ["t", "a", "bad", "b"], ["t", "a"], None),
    ]
    assert found["counts"]["known_queries"] == 3
    assert found["counts"]["queries_without_interactions"] == 1


def test_without_times_a_server_is_asked_in_the_order_of_the_files():
    spec = spec_of(LAST | {"new_pairs_only": False}, timestamp=None)
    found = run(spec, "query candidate time\nq z 0\nq a 0\nq m 0\nq b 0")
    assert found["queries"] == [{"_query_id": "q", "_seen": [], "history": ["b", "m", "a", "z"]}]
