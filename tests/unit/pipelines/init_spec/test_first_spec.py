import json

import pytest

from pipelines.init_spec.first_spec import write_first_spec
from pipelines.init_spec.times import are_orders
from tests.unit.pipelines.init_spec.tables import films, search, shop, write_csv
from tfrs_twotower.config import load_run_config, spec_path
from tfrs_twotower.errors import ConfigError, DataError
from tfrs_twotower.specs import load_spec


def first_spec(tables, tmp_path, name=None):
    spec, run = write_first_spec(*tables, tmp_path / "out", name)
    assert spec_path(load_run_config(run), run) == spec.resolve()
    return load_spec(spec)


def by_name(side):
    return {feature.name: feature for feature in side.features}


def test_a_shop_with_ugly_column_names(tmp_path):
    tables = shop(tmp_path / "Mein Laden 2")
    spec = first_spec(tables, tmp_path)
    assert spec.name == "mein_laden_2"
    events = spec.interactions
    assert events.path == "../Mein Laden 2/Käufe.csv"
    assert (events.query_id, events.candidate_id) == ("Kunden-Nr", "Artikel Nr.")
    assert (events.timestamp.column, events.timestamp.unit) == ("Kauf Date", "iso")
    assert events.session == "Order ID"
    assert events.label is None
    assert spec.candidates.title == "Produkt Name"
    assert spec.split.kind == "temporal"  # 108 days, and every customer comes back

    candidate = by_name(spec.candidate)
    assert {name: f.kind for name, f in candidate.items()} == {
        "artikel_nr": "id",
        "produkt_name": "text",
        "preis": "numeric",
        "column": "categorical",
        "column_2nd_hand": "categorical",
    }
    assert candidate["preis"].column == "Preis (€)"
    assert candidate["column"].column == "価格"
    query = by_name(spec.query)
    assert {name: f.kind for name, f in query.items()} == {
        "history": "history",
        "lander": "categorical",
        "alter": "categorical",  # ten distinct whole numbers
    }
    assert query["lander"].column == "Länder"
    text = (tmp_path / "out" / "mein_laden_2.yaml").read_text(encoding="utf-8")
    assert "# weight: Quantity" in text
    assert "# left out: leer has no values" in text


def test_films_as_json_lines_without_a_table_of_queries(tmp_path):
    spec = first_spec(films(tmp_path / "films"), tmp_path, name="Films 2024")
    assert spec.name == "films_2024"
    assert spec.queries is None
    assert (spec.interactions.query_id, spec.interactions.candidate_id) == ("userId", "movieId")
    assert spec.candidates.id == "id"
    assert spec.interactions.timestamp.unit == "ms"
    assert spec.interactions.label == "rating"
    assert spec.relevance.min_label == 4.0
    assert spec.split.kind == "per_query_last"  # all within a second
    candidate = by_name(spec.candidate)
    assert {name: f.kind for name, f in candidate.items()} == {
        "id": "id",
        "title": "text",
        "genres": "multi_categorical",
        "tags": "multi_categorical",
        "exclude_ids_2": "categorical",  # the plain name is an input of the server
    }
    assert candidate["genres"].max_values == 2
    assert (candidate["tags"].separator, candidate["tags"].max_values) == ("|", 3)
    assert [f.kind for f in spec.query.features] == ["history"]


def test_search_with_a_split_column_and_no_times(tmp_path):
    spec = first_spec(search(tmp_path / "search"), tmp_path)
    assert (spec.interactions.query_id, spec.interactions.candidate_id) == ("qid", "docid")
    assert spec.queries.split == "split"
    assert spec.split.kind == "given"
    assert spec.split.validation == "dev"
    query, candidate = by_name(spec.query), by_name(spec.candidate)
    assert set(query) == {"text", "source"}
    assert set(candidate) == {"text", "source"}  # no history needs an id table
    assert query["text"].vocabulary == candidate["text"].vocabulary == "words"
    assert query["source"].vocabulary_name != candidate["source"].vocabulary_name


def test_without_times_or_splits_the_last_events_of_the_file_are_held_out(tmp_path):
    events = write_csv(
        tmp_path / "events.csv", ("user_id", "item_id"), [(i % 3, i % 5) for i in range(20)]
    )
    items = write_csv(tmp_path / "items.csv", ("item_id",), [(i,) for i in range(5)])
    path, _ = write_first_spec(events, items, None, tmp_path, "untimed")
    spec = load_spec(path)
    assert (spec.split.kind, spec.interactions.timestamp) == ("per_query_last", None)
    assert by_name(spec.query).keys() == {"history"}
    assert "# per_query_last: no column has times, so a query's last events" in path.read_text()
    # User 0 stands for nobody; the other two have 13 events with five candidates.
    assert "predict repeats as well, which 23% of the events are" in path.read_text()


@pytest.mark.parametrize(("many", "length"), [(1, 50), (2, 200)])
def test_histories_are_as_long_as_a_tenth_of_the_queries_fill(tmp_path, many, length):
    """Of twenty users, `many` have 51 candidates, and the others thirty twice over."""
    events = [
        (user, item % (51 if user <= many else 30)) for user in range(1, 21) for item in range(60)
    ]
    table = write_csv(tmp_path / "events.csv", ("user_id", "item_id"), events)
    items = write_csv(tmp_path / "items.csv", ("item_id",), [(i,) for i in range(60)])
    path, run = write_first_spec(table, items, None, tmp_path, "long")
    assert by_name(load_spec(path).query)["history"].max_length == length
    assert load_run_config(run).model.history_length == (50 if length == 200 else None)


def test_positions_of_each_query_are_an_order_and_no_time(tmp_path):
    events = write_csv(
        tmp_path / "events.csv",
        ("user_id", "item_id", "stars", "position"),
        [(i % 30, i * 7 % 50, 1 + i % 5, i // 30) for i in reversed(range(300))],
    )
    items = write_csv(tmp_path / "items.csv", ("item_id",), [(i,) for i in range(50)])
    path, _ = write_first_spec(events, items, None, tmp_path, "ordered")
    spec = load_spec(path)
    assert spec.interactions.timestamp.model_dump() == {"column": "position", "unit": "order"}
    assert not spec.interactions.has_times
    assert spec.split.kind == "per_query_last"
    assert "# per_query_last: 'position' numbers the events of each query; no times" in (
        path.read_text()
    )


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        (range(4), True),
        (range(1, 5), True),
        ((0, 1, 1, 2), False),  # a quantity repeats
        ((0, 2, 5, 9), False),  # other numbers leave gaps
        (range(7, 11), False),
        ((0, 1, 2, -1), False),
        ((0, 1, 2, "x"), False),
    ],
)
def test_numbers_of_an_order_begin_at_the_first_event_of_each_query(numbers, found):
    owners = [query for query in range(20) for _ in range(4)]
    assert are_orders(owners, [*reversed([*numbers])] * 20) is found
    # Of too few queries it may be chance.
    assert not are_orders(owners[:32], [*numbers] * 8)


def test_how_cells_are_written_is_written_into_the_spec(tmp_path):
    events = write_csv(
        tmp_path / "events.csv",
        ("user_id", "item", "grade"),
        [("nan" if i == 9 else f"u{i % 20}", i % 30, 1 if i % 20 < 5 else 0) for i in range(200)],
    )
    rows = [
        (
            i,
            "['rock', 'all']" if i % 2 else "['jazz']",
            f"1.{i:03},50 €",
            f"{1900 + i}-03-01",
            f"el corazón de la canción número {i} allá en la montaña",
        )
        for i in range(30)
    ]
    header = ("item", "genres", "price", "released", "lyrics")
    items = write_csv(tmp_path / "items.csv", header, rows)
    path, _ = write_first_spec(events, items, None, tmp_path / "out", "forms")
    spec, text = load_spec(path), path.read_text(encoding="utf-8")
    candidate = by_name(spec.candidate)
    assert (candidate["genres"].format, candidate["genres"].max_values) == ("python", 2)
    assert candidate["price"].format == "comma"
    assert (candidate["released"].kind, candidate["released"].unit) == ("timestamp", "iso")
    assert candidate["lyrics"].keep_accents
    assert spec.interactions.missing == ("nan",)
    assert spec.candidates.missing == ()
    assert spec.relevance.min_label == 1.0
    assert "# Only 24% of the queries have an event with 1 or more" in text  # 5 of 21


def test_ids_that_are_not_shared(tmp_path):
    events = write_csv(tmp_path / "events.csv", ("user_id", "item"), [("u", "sku-1"), ("v", "x")])
    items = write_csv(tmp_path / "items.csv", ("item",), [("1",), ("2",)])
    with pytest.raises(DataError, match=r"no column shares values with 'item' .*written alike"):
        write_first_spec(events, items, None, tmp_path, None)


def test_a_table_without_identity(tmp_path):
    events = write_csv(tmp_path / "events.csv", ("user_id", "item"), [("u", "1"), ("v", "1")])
    items = write_csv(tmp_path / "items.csv", ("item",), [("1",), ("1",)])
    with pytest.raises(DataError, match="no column has a different value in every record"):
        write_first_spec(events, items, None, tmp_path, None)


def test_an_existing_file_is_not_overwritten(tmp_path):
    tables = search(tmp_path / "search")
    first_spec(tables, tmp_path)
    with pytest.raises(ConfigError, match=r"search\.yaml: exists already"):
        write_first_spec(*tables, tmp_path / "out", None)


def test_equal_ranges_of_running_numbers_are_told_apart_by_name(tmp_path):
    events = [
        {"item_id": i % 7, "user_id": i % 5, "timestamp": 1_700_000_000 + i} for i in range(70)
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    items = write_csv(tmp_path / "items.csv", ("item_id", "name"), [(i, f"n{i}") for i in range(7)])
    users = write_csv(
        tmp_path / "users.csv", ("user_id", "sex"), [(i, "mf"[i % 2]) for i in range(7)]
    )
    spec = first_spec((path, items, users), tmp_path, name="tiny")
    assert (spec.interactions.query_id, spec.interactions.candidate_id) == ("user_id", "item_id")


@pytest.mark.parametrize("mistake", ["7", ""])
def test_a_repeated_or_missing_id_is_left_to_the_quarantine(tmp_path, mistake):
    events = write_csv(
        tmp_path / "events.csv",
        ("user_id", "item", "timestamp"),
        [(f"u{i % 9}", i % 30, 1_700_000_000 + i) for i in range(90)],
    )
    rows = [(i, f"c{i % 3}") for i in range(30)]
    items = write_csv(tmp_path / "items.csv", ("item", "colour"), [*rows, (mistake, "c1")])
    spec = first_spec((events, items, None), tmp_path)
    assert (spec.candidates.id, spec.interactions.candidate_id) == ("item", "item")


@pytest.mark.parametrize("written", [("7", "8"), ("7.0", "8.0")])
def test_ids_that_are_the_same_numbers_are_read_as_numbers(tmp_path, written):
    events = write_csv(
        tmp_path / "events.csv", ("user_id", "item"), [("u", written[0]), ("v", written[1])]
    )
    items = write_csv(tmp_path / "items.csv", ("item", "x"), [("007", "a"), ("008", "b")])
    spec = load_spec(write_first_spec(events, items, None, tmp_path, "zeros")[0])
    assert spec.candidates.whole_number_ids
    assert (spec.interactions.candidate_id, spec.candidates.id) == ("item", "item")


def test_ids_that_are_written_otherwise_are_shown(tmp_path):
    events = write_csv(tmp_path / "events.csv", ("user_id", "item"), [("u", "A7"), ("v", "A8")])
    items = write_csv(tmp_path / "items.csv", ("item",), [("a7",), ("a8",)])
    with pytest.raises(DataError, match=r"written alike in both tables: 'item' is 'A7' in one and"):
        write_first_spec(events, items, None, tmp_path, None)


def test_a_time_that_is_not_read_is_shown(tmp_path):
    events = write_csv(
        tmp_path / "events.csv",
        ("user_id", "item", "date"),
        [(f"u{i % 3}", i % 5, f"week {i} of 2024") for i in range(20)],
    )
    items = write_csv(tmp_path / "items.csv", ("item",), [(i,) for i in range(5)])
    with pytest.raises(
        DataError, match="'date' may be one, but 'week 0 of 2024' is not read as a time"
    ):
        write_first_spec(events, items, None, tmp_path, None)


def test_a_small_corpus_is_judged_on_short_lists(tmp_path):
    _, run = write_first_spec(*shop(tmp_path / "shop"), tmp_path / "out", None)
    assert load_run_config(run).evaluate.ks == (5, 10, 20)


def test_histories_know_the_features_of_candidates_where_there_are_any(tmp_path):
    _, run = write_first_spec(*shop(tmp_path / "shop"), tmp_path / "out", None)
    assert load_run_config(run).model.history_content == "learned"
    events = [(f"u{i % 3}", f"i{i % 5}", 1_700_000_000 + i) for i in range(40)]
    bare = (
        write_csv(tmp_path / "events.csv", ("user", "item", "time"), events),
        write_csv(tmp_path / "items.csv", ("item",), [(f"i{i}",) for i in range(5)]),
    )
    _, run = write_first_spec(*bare, None, tmp_path / "bare", None)
    assert load_run_config(run).model.history_content == "none"


def test_what_the_files_look_like_is_written_into_the_spec(tmp_path):
    """A shop's tables as Excel and a database write them."""
    events, articles, customers = shop(tmp_path / "shop")
    plain = first_spec((events, articles, customers), tmp_path)
    text = articles.read_text(encoding="utf-8").replace(",", ";").replace(".5", ",5")
    articles.write_text(text.replace("価格", "Größe"), encoding="cp1252")
    events.write_text(events.read_text(encoding="utf-8").split("\n", 1)[1], encoding="utf-8")
    spec, _ = write_first_spec(events, articles, customers, tmp_path / "other", "shop")
    lines = spec.read_text(encoding="utf-8").splitlines()
    assert "  encoding: cp1252  # a guess: look at words with accents" in lines
    assert "  delimiter: ;  # as the first lines show" in lines
    assert "  decimal: ','  # as the first lines show" in lines
    other = load_spec(spec)
    assert other.candidates.declared[:4] == (";", None, ",", "cp1252")
    assert by_name(other.candidate)["preis"] == by_name(plain.candidate)["preis"]
