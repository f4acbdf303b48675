import Stemmer

from tfrs_twotower.closed_form import word_forms
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.closed_form.word_forms import inflections

STEM = Stemmer.Stemmer("english").stemWord


def test_forms_of_a_word_find_it():
    postings = build_postings(["cat study compute run café"], k1=1.2, b=0.75)
    queries = {
        "cat": ["cats"],
        "studi": ["studies", "studied", "studying"],
        "comput": ["computer", "computing", "computed", "computation"],
        "run": ["runs", "running"],
        "café": ["cafés"],
    }
    for term, words in queries.items():
        for word in words:
            (found,) = postings.terms_of([word])
            assert postings.terms[found] == term


def test_every_form_has_the_stem_that_the_stemmer_gives_it():
    words = {"cats": "cat", "universal": "univers", "news": "news", "x2": "x2"}
    added = inflections(list(words.values()), words, frozenset())
    assert added
    assert all(STEM(word) == term for word, term in added.items())
    assert not set(added) & set(words)


def test_stop_words_are_no_forms():
    assert "into" in inflections(["into"], {}, ())
    assert "into" not in inflections(["into"], {}, ("into",))


def test_forms_of_the_first_terms_are_kept_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr(word_forms, "MOST_FORMS", 5)
    added = inflections(["cat", "dog"], {}, ())
    assert len(added) == 5
    assert set(added.values()) == {"cat"}
