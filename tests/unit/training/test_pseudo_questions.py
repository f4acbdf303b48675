import numpy as np
import pytest

from tests.fixtures.planted import assets, corpus, preprocessed, spec  # noqa: F401
from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tfrs_twotower.config import PseudoQuestionsConfig
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.training.pseudo_questions import draw_spans, make_examples

BODY = b"one two three four five six seven"


def texts(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def spans(*columns, seed=1, **settings):
    return draw_spans(columns, PseudoQuestionsConfig(**settings), seed=seed)


def test_spans_are_consecutive_words_of_their_candidate():
    drawn, rows = spans(texts(BODY, b"eight  nine\tten"), per_candidate=50, words=(2, 4))
    assert len(drawn) == 100
    assert rows.tolist() == [0] * 50 + [1] * 50
    assert all(span in BODY for span in drawn[:50])
    assert all(span in b"eight nine ten" for span in drawn[50:])
    lengths = [len(span.split()) for span in drawn[:50]]
    assert set(lengths) == {2, 3, 4}
    assert {span.split()[0] for span in drawn[:50]} >= {b"one", b"four", b"six"}


def test_a_short_text_is_taken_whole_and_an_empty_one_not_at_all():
    drawn, rows = spans(texts(b"one two", b"", b" "), per_candidate=2, words=(3, 5))
    assert drawn == [b"one two"] * 2
    assert rows.tolist() == [0, 0]


def test_titles_and_bodies_take_turns():
    drawn, rows = spans(texts(b"a title", b""), texts(BODY, BODY), per_candidate=3, words=(7, 7))
    assert drawn == [b"a title", BODY, b"a title", BODY, BODY, BODY]
    assert rows.tolist() == [0, 0, 0, 1, 1, 1]


def test_spans_repeat_under_the_seed():
    body = texts(BODY, BODY)
    assert spans(body)[0] == spans(body)[0]
    assert spans(body)[0] != spans(body, seed=2)[0]


def test_the_least_number_of_words_is_not_above_the_most():
    with pytest.raises(ValueError, match=r"found \[5, 4\], the least number above the most"):
        PseudoQuestionsConfig(words=(5, 4))


def test_examples_hold_the_span_and_nothing_else(assets, corpus):  # noqa: F811
    towers = build_towers(tiny_spec(), tiny_run_config().model, assets, seed=1)
    settings = PseudoQuestionsConfig(per_candidate=2, words=(2, 3))
    table = make_examples(towers, corpus.raw, settings, seed=1)
    raw = [corpus.raw[name] for name in ("title", "description")]
    drawn, rows = draw_spans(raw, settings, seed=1)
    np.testing.assert_array_equal(table.candidate_rows, rows)
    assert len(table) == len(np.unique(table.query_rows)) == len(table.query_ids)
    words = towers.candidate.inputs.pieces(tiny_spec().candidate.features[4])
    first = [words[token] for token in table.tokens["bio"][0] if token]
    assert (
        "".join(first).replace("##", "")
        == drawn[0].decode().lower().replace(" ", "")[: sum(map(len, first))]
    )
    assert not table.tokens["user_id"].any()
    assert not table.tokens["history"].any()
    assert (table.tokens["age"][:, 1] == 1.0).all()
    assert not table.tokens["event_time"].any()
    # They train the towers as other examples do.
    vectors = towers.query.embed_tokens(table.batch(np.arange(4), 1)["tokens"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
