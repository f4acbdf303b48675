"""How lists, numbers and ids are written as text, by hand and by the tools that write them so."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.transforms.cell_forms import (
    is_list,
    list_formats_of,
    number_formats_of,
    parse_list,
    plain_number,
    plain_text,
)
from tfrs_twotower.tables.decimals import from_decimal_comma

words = st.lists(st.text("abc '\"\\,|[]{}é\u2028", min_size=1, max_size=8), max_size=4)


@pytest.mark.parametrize(
    ("text", "formats", "entries"),
    [
        ("['rock', 'all']", ("python",), ["rock", "all"]),
        ("('rock',)", ("python",), ["rock"]),
        ("{'b', 'a'}", ("python",), ["a", "b"]),
        ('["rock", "all"]', ("json", "python"), ["rock", "all"]),
        ("['rock' 'all']", ("numpy",), ["rock", "all"]),
        ("['rock'\n \"rock'n'roll\"]", ("numpy",), ["rock", "rock'n'roll"]),
        ("[1 2 3]", ("numpy",), ["1", "2", "3"]),
        ("{rock,all}", ("postgres",), ["rock", "all"]),
        ('{"a, b",c d,NULL}', ("postgres",), ["a, b", "c d", None]),
        ("[rock and roll, all]", ("postgres",), ["rock and roll", "all"]),
        ("['rock']", ("python", "numpy"), ["rock"]),
        ("[]", ("json", "python", "numpy"), []),
        ("{}", ("postgres",), []),
    ],
)
def test_lists(text, formats, entries):
    assert list_formats_of(text) == formats
    for list_format in formats:
        assert parse_list(f" {text} ", list_format) == entries


@pytest.mark.parametrize(
    "text", ["rock", "a|b", "[live] album", "(2004)", "{x", "[['a'], ['b']]", "{'a': 1}", ""]
)
def test_what_is_no_list(text):
    assert list_formats_of(text) == ()
    assert not is_list(text)


def test_brackets_alone_do_not_make_a_list():
    assert not is_list("{5C1F-22}")
    assert not is_list("[Unknown]")
    assert is_list("{5C1F,22}")
    assert is_list("['Unknown']")


@given(words)
def test_what_json_and_python_write_is_read_back(entries):
    assert parse_list(json.dumps(entries), "json") == entries
    assert parse_list(json.dumps(entries, ensure_ascii=False), "json") == entries
    assert parse_list(repr(entries), "python") == entries
    assert parse_list(repr(tuple(entries)), "python") == entries


@given(st.lists(st.text("abc ,|[]{}é", min_size=1, max_size=8), max_size=4))
def test_what_numpy_and_postgres_write_is_read_back(entries):
    assert parse_list(str(np.array(entries, str)), "numpy") == entries
    quoted = ",".join(f'"{entry}"' for entry in entries)
    assert parse_list(f"{{{quoted}}}", "postgres") == entries


@pytest.mark.parametrize("list_format", ["json", "python", "numpy", "postgres"])
def test_another_format_is_refused(list_format):
    for text in ("rock|all", "1", '"rock"', "["):
        with pytest.raises(ValueError, match=r"."):
            parse_list(text, list_format)
    with pytest.raises(ValueError, match="nested"):
        parse_list('[["a"]]', "json")


@pytest.mark.parametrize(
    ("text", "number_format", "plain"),
    [
        ("$1,234.50", "point", "1234.50"),
        ("1,234", "point", "1234"),
        ("-$5", "point", "-5"),
        ("USD 12.5", "point", "12.5"),
        ("1'234.5", "point", "1234.5"),
        ("12 %", "point", "12"),
        ("1.5e3", "point", "1.5e3"),
        ("5,5", "comma", "5.5"),
        ("1,234", "comma", "1.234"),
        ("1.234,50 €", "comma", "1234.50"),
        ("1\u202f234,5", "comma", "1234.5"),
        ("\u22125,0 kr", "comma", "-5.0"),
    ],
)
def test_numbers(text, number_format, plain):
    assert number_format in number_formats_of(text)
    assert plain_number(text, number_format) == plain
    assert float(plain_number(text, number_format)) == float(plain)


@pytest.mark.parametrize(
    "text", ["5,5", "1,234", "1.234.567,8", "1\u202f234,5", "1'234", "\u22125,0", ",5", "5,", "7e2"]
)
def test_a_table_and_a_feature_read_the_same_number_with_a_decimal_comma(text):
    assert from_decimal_comma(text) == plain_number(text, "comma")
    for decorated in (f"{text} \u20ac", f"{text}%"):  # for a feature to read that says `format`
        assert plain_number(decorated, "comma") == plain_number(text, "comma")
        assert from_decimal_comma(decorated) == decorated


@pytest.mark.parametrize("text", ["", "V", "5kg", "SKU100", "ABC 5", "1,23,4", "1-2", "31.05.2024"])
def test_what_is_no_number(text):
    assert number_formats_of(text) == ()
    with pytest.raises(ValueError, match="not a number with a decimal comma"):
        plain_number(text, "comma")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Haus &amp; Hof</p><ul><li>rot</li><li>blau</li></ul>", "Haus & Hof rot blau"),
        ("a<br/>b", "a b"),
        ("<b>W</b>ort, f&uuml;r 5&nbsp;&euro; &#39;x&#39;", "Wort, für 5 € 'x'"),
        ("<style>p {x: y}</style>rot<script>a < b</script>", "rot"),
        ("&lt;p&gt;Tee&lt;/p&gt; &amp;amp; Co", "Tee & Co"),
        ("a < b und c > d", "a < b und c > d"),
        ("Tom & Jerry", "Tom & Jerry"),
        ("nie <b>zu", "nie zu"),
    ],
)
def test_the_text_of_html(html, text):
    assert plain_text(html) == text
    assert plain_text(text) == text
