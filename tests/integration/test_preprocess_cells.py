"""What becomes of cells that are written in another way than a feature reads them."""

import copy
import math
import re
from datetime import datetime, timezone

import pytest

from tests.fixtures.recorder import Recorder
from tests.integration.preprocess_world import (
    CANDIDATES,
    DAY_S,
    QUERIES,
    SPEC,
    START_S,
    examples,
    interactions,
    quarantined,
    random_events,
    run,
    vocabulary,
    write_tables,
)
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.errors import DataError

pytestmark = pytest.mark.integration
AT = START_S + DAY_S


def spec_with(**candidate_features):
    """The planted spec with further settings of candidate features, by name."""
    spec = copy.deepcopy(SPEC)
    for feature in spec["candidate"]["features"]:
        feature.update(candidate_features.get(feature["name"], {}))
    return spec


def corpus_of(directory):
    return {
        one["_candidate_id"][0]: one
        for one in examples(directory / "work" / "preprocessed", "corpus")
    }


def test_each_form_of_cell_is_read_or_reported(tmp_path):
    spec = spec_with(price={"format": "comma"}, tags={"format": "json"}, made={"unit": "iso"})
    spec["candidate"]["features"][3]["parts"] = ["month_of_year"]
    spec["candidates"]["missing"] = ["NULL"]
    candidates = ["candidate,name,tags,price,made"] + [
        f'c{n},"Thing {n},\nboxed","[""a"", ""b{n}""]","1.00{n % 10},5 €",19{50 + n}-03-01'
        for n in range(20)
    ]
    candidates += [
        'c20,odd,"[""a\\u0085b""]",NULL,1850-03-01',  # JSON's escape hides a line break
        '"c\n21",odd id,[],"1,5",',
    ]
    events = random_events(0)
    events += [("q1", "c\n21", AT, 5, ""), ("q1", "c22", AT, 5, "")]
    events += [(" q1 ", "c1 ", AT, 5, ""), ("nan", "c1", AT, 5, "")]
    write_tables(tmp_path, events, candidates=candidates)
    recorder = Recorder()
    manifest = run(tmp_path, spec=spec, reporter=recorder)

    corpus = corpus_of(tmp_path)
    assert corpus["c7"]["price"] == [1007.5]
    assert corpus["c7"]["tags"] == ["a", "b7"]
    born = datetime(1957, 3, 1, tzinfo=timezone.utc).timestamp()
    assert corpus["c7"]["made"] == [born]
    assert corpus["c7"]["_title"] == ["Thing 7,\nboxed"]  # texts may have lines
    assert math.isnan(corpus["c20"]["price"][0])
    assert corpus["c20"]["tags"] == []
    assert len(corpus) == manifest.counts["candidates"] == 21

    artifact = tmp_path / "work" / "preprocessed"
    line_break = "has a line break or another control character"
    assert {reason for _, reason, _ in quarantined(artifact / "quarantine", "candidates")} == {
        f"column 'tags': {line_break} (found 'a\\x85b')",
        f"candidate id in column 'candidate': {line_break} (found 'c\\n21')",
    }
    assert {
        (key, reason) for key, reason, _ in quarantined(artifact / "quarantine", "interactions")
    } == {
        ("q1", f"candidate id in column 'candidate': {line_break} (found 'c\\n21')"),
        ("c22", "unknown candidate"),
    }
    assert (
        manifest.counts["quarantined_candidates"],
        manifest.counts["bad_cells_candidates"],
    ) == (1, 1)
    assert {event["query_id"] for event in interactions(artifact)} >= {"q1", "nan"}
    assert " q1 " not in {event["query_id"] for event in interactions(artifact)}
    said = "\n".join(recorder.messages)
    assert re.search(r"2 ids have blanks around them, the first in .*events.csv:\d+;", said)
    assert "column 'query': 1 cell with nan, which is read as a value like any other" in said
    assert 'set missing: ["nan"] under interactions' in said
    assert "candidates: 1 bad cell taken as missing: column 'tags'" in said


def test_vocabularies_are_read_back_as_they_were_counted(tmp_path):
    odd = ["a b", "tab\tbed", "caf\u00e9", "no\u00a0break", "\u200b", "[PAD]", "-1"]
    candidates = ["candidate,name,tags,price,made"] + [
        f"c{n},x,{odd[n % len(odd)]}|all,{n}," for n in range(20)
    ]
    write_tables(tmp_path, random_events(0), candidates=candidates)
    run(tmp_path)
    artifact = tmp_path / "work" / "preprocessed"
    assert set(load_assets(artifact).vocabularies["tag"]) == {*odd, "all"}


def test_the_cause_is_named_and_not_its_consequence(tmp_path):
    candidates = [CANDIDATES[0]] + [f'c{n},x,a|b,"{n},5",' for n in range(20)]
    write_tables(tmp_path, random_events(0), candidates=candidates)
    message = (
        r"candidates: 20 of 20 records are bad in one cell \(100.0%\): column 'price': not a "
        r"number \(found '0,5'\), 20 times .*candidates.csv:2.*"
        r"look like numbers with a decimal comma \('0,5' is 0.5\): set format: comma"
    )
    with pytest.raises(DataError, match=message):
        run(tmp_path, max_bad_fraction=1.0)  # a column without a usable cell always fails
    kept = tmp_path / "work" / "quarantine" / "preprocess"
    assert len(quarantined(kept, "candidates")) == 20
    spec = copy.deepcopy(SPEC)
    spec["candidates"]["bad_cells"] = "quarantine"
    message = (
        r"candidates: 20 of 20 records are bad \(100.0%\).*column 'price': not a number "
        r"\(found '0,5'\), 20 times .*set format: comma"
    )
    with pytest.raises(DataError, match=message):
        run(tmp_path, spec=spec)
    bad = quarantined(kept, "interactions")
    assert {reason for _, reason, _ in bad} == {"its candidate's own record is bad"}


@pytest.mark.parametrize(("number", "fails"), [(2, False), (3, True)])
def test_a_small_table_tolerates_a_tenth(tmp_path, number, fails):
    candidates = [CANDIDATES[0]] + [f"c{n},x,a|b,{'N/A' if n < number else n}," for n in range(20)]
    write_tables(tmp_path, random_events(0), candidates=candidates)
    if not fails:
        assert run(tmp_path).counts["bad_cells_candidates"] == number
        return
    message = r"candidates: 3 of 20 records are bad in one cell .*If 'N/A' means that there is no"
    with pytest.raises(DataError, match=message):
        run(tmp_path)
    spec = copy.deepcopy(SPEC)
    spec["candidates"]["missing"] = ["N/A"]
    assert run(tmp_path, spec=spec).counts["bad_cells_candidates"] == 0


def test_lists_written_as_text_are_refused_and_other_separators_said(tmp_path):
    candidates = [CANDIDATES[0]] + [f"c{n},x,\"['a', 'b{n % 3}']\",{n}," for n in range(20)]
    write_tables(tmp_path, random_events(0), candidates=candidates)
    message = (
        r"candidates: column 'tags': 100% of the cells look like a list written as text .*"
        r"multi_categorical with format: python"
    )
    with pytest.raises(DataError, match=message):
        run(tmp_path)
    run(tmp_path, spec=spec_with(tags={"format": "python"}))
    artifact = tmp_path / "work" / "preprocessed"
    assert sorted(vocabulary(artifact, "tag")) == ["a", "b0", "b1", "b2"]
    candidates = [CANDIDATES[0]] + [f"c{n},x,a;b{n % 3},{n}," for n in range(20)]
    write_tables(tmp_path, random_events(0), candidates=candidates)
    recorder = Recorder()
    run(tmp_path, reporter=recorder)
    assert any(
        "no cell holds the separator of the feature spec, but 100% hold ';'" in text
        for text in recorder.messages
    )


def test_ids_that_the_tables_write_otherwise_are_shown(tmp_path):
    rows = [(query[1:], f"{item[1:]}.0", *rest) for query, item, *rest in random_events(0)]
    candidates = [line.removeprefix("c") if n else line for n, line in enumerate(CANDIDATES)]
    queries = [f"0{line[1:]}" if n else line for n, line in enumerate(QUERIES)]
    write_tables(tmp_path, rows, queries, candidates)
    with pytest.raises(DataError, match=r"'\d+.0' in interactions is '\d+' in candidates: an id"):
        run(tmp_path)
    rows = [(query, item.removesuffix(".0"), *rest) for query, item, *rest in rows]
    write_tables(tmp_path, rows, queries, candidates)
    message = (
        r"interactions: 240 of 240 have a query without a record in queries.*"
        r"'\d+' in interactions is '0\d+' in queries"
    )
    with pytest.raises(DataError, match=message):
        run(tmp_path)
    spec = copy.deepcopy(SPEC)
    for table in ("queries", "candidates"):
        spec[table]["whole_number_ids"] = True
    manifest = run(tmp_path, spec=spec)
    assert manifest.counts["quarantined_interactions"] == 0
    of_q12 = sum(query == "12" for query, *_ in rows)
    assert manifest.counts["interactions_without_query_record"] == of_q12  # q12 has no record
    assert corpus_of(tmp_path)["7"]["item"] == ["7"]


def test_without_times_the_order_of_the_file_counts(tmp_path):
    spec = copy.deepcopy(SPEC)
    del spec["interactions"]["timestamp"], spec["interactions"]["session"]
    spec["query"]["features"] = [{"name": "before", "kind": "history", "max_length": 4}]
    spec["split"] = {"kind": "per_query_last"}
    events = [("q1", f"c{n}", 0, 5, "") for n in (7, 3, 9, 1, 4)]
    events[2:2] = [("q2", "c5", 0, 5, "")]  # alone, so it stays in train
    write_tables(tmp_path, events)
    run(tmp_path, spec=spec)
    artifact = tmp_path / "work" / "preprocessed"
    train = {one["_candidate_id"][0]: one["before"] for one in examples(artifact, "train", spec)}
    assert train == {"c7": [], "c3": ["c7"], "c9": ["c3", "c7"], "c5": []}
    (validation,) = examples(artifact, "validation")
    assert (validation["_relevant"], validation["before"]) == (["c1"], ["c9", "c3", "c7"])
    (test,) = examples(artifact, "test")
    assert (test["_relevant"], test["before"]) == (["c4"], ["c1", "c9", "c3", "c7"])


def test_local_dates_html_and_events_that_are_left_out(tmp_path):
    spec = spec_with(made={"unit": "dmy", "parts": ["month_of_year"]})
    spec["interactions"]["timestamp"]["unit"] = "mdy"
    del spec["interactions"]["session"]  # the column has states here
    spec["interactions"]["leave_out"] = {"session": ["storniert", ""], "query": ["0"]}
    spec["candidate"]["features"].append(
        {"name": "words", "column": "name", "kind": "text", "format": "html"}
    )
    candidates = ["candidate,name,tags,price,made"] + [
        f"c{n},<b>R</b>ad &amp; Tat<br>{n},a,{n},{1 + n}.3.2024" for n in range(20)
    ]
    states = ["bezahlt", "storniert", "", "bezahlt", " storniert "]
    events = [
        (
            f"q{n % 12}" if n % 50 else "0",
            f"c{n % 19}",
            f"{1 + n // 28 % 12}/{1 + n % 28}/2024",
            5,
            s,
        )
        for n, s in ((n, states[n % 5]) for n in range(400))
    ]
    write_tables(tmp_path, events, candidates=candidates)
    recorder = Recorder()
    manifest = run(tmp_path, spec=spec, reporter=recorder)

    kept = 400 - 8 - 240  # every fiftieth is bezahlt and a guest's; three states of five go
    assert len(interactions(tmp_path / "work" / "preprocessed")) == kept
    assert manifest.counts["interactions"] == kept
    assert manifest.counts["quarantined_interactions"] == 0
    assert "interactions: 248 of 400 records are left out by leave_out" in recorder.messages
    assert "0" not in {one["query_id"] for one in interactions(tmp_path / "work" / "preprocessed")}
    corpus = corpus_of(tmp_path)
    assert corpus["c7"]["words"] == corpus["c7"]["_title"] == ["Rad & Tat 7"]
    assert corpus["c7"]["made"] == [datetime(2024, 3, 8, tzinfo=timezone.utc).timestamp()]


def test_dates_of_the_other_order_are_refused_with_the_unit_that_reads_them(tmp_path):
    spec = spec_with()
    spec["interactions"]["timestamp"]["unit"] = "mdy"
    events = [(f"q{n % 12}", f"c{n % 19}", f"{1 + n % 28}.5.2024", 5, "") for n in range(200)]
    write_tables(tmp_path, events)
    with pytest.raises(
        DataError, match="not a time, month first: looks like a date: set unit: dmy"
    ):
        run(tmp_path, spec=spec)
