from dataclasses import replace

import numpy as np
import pytest

from tests.reference import lexical as reference
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.data import feedback
from tfrs_twotower.data.feedback import Feedback, scores_with_feedback
from tfrs_twotower.data.postings import Lexical

RNG = np.random.default_rng(3)
WORDS = np.array([f"word{number:02d}" for number in range(30)])
TEXTS = [" ".join(RNG.choice(WORDS, RNG.integers(0, 12))) for _ in range(60)]
POSTINGS = build_postings(TEXTS, k1=1.2, b=0.75)


def asked(postings, text, share):
    terms, weights = Feedback(postings, share)(postings.terms_of(text.split()))
    return dict(zip([postings.terms[term] for term in terms], weights.tolist(), strict=True))


def test_the_words_of_the_only_passage_by_hand():
    """`fever` is in one passage of two, beside `cough`; both have the idf log(2), so each gets half
    of the share: of 2 words with share .4, own words keep .6 each, and .8 goes to the passage."""
    postings = build_postings(["fever cough", "other"], k1=1.2, b=0.75)
    assert asked(postings, "fever fever", 0.4) == pytest.approx({"fever": 1.2 + 0.4, "cough": 0.4})
    assert asked(postings, "nothing", 0.4) == {}
    assert asked(postings, "other", 0.4) == pytest.approx({"other": 1.0})


def test_passages_count_by_their_score_and_terms_by_their_rarity():
    """By loops over all passages, from the definition."""
    texts = [text.split() for text in TEXTS]
    for query in (["word03"], ["word03", "word07", "word03"], ["word11", "word00", "word29"]):
        scores = reference.bm25(texts, query, 1.2, 0.75)
        expected = reference.feedback(
            texts, query, scores, share=0.3, passages=feedback.PASSAGES, most=feedback.HEAVY_TERMS
        )
        assert asked(POSTINGS, " ".join(query), 0.3) == pytest.approx(expected, rel=1e-5)


def test_a_passage_gives_its_heaviest_terms_only(monkeypatch):
    monkeypatch.setattr(feedback, "HEAVY_TERMS", 1)
    postings = build_postings(["rare common", "common", "common other"], k1=1.2, b=0.75)
    assert set(asked(postings, "common", 0.5)) == {"common", "rare", "other"}
    assert set(asked(postings, "rare", 0.5)) == {"rare"}


def test_weights_keep_their_sum_and_a_share_of_0_changes_nothing():
    for query in ("word03 word07", "word11"):
        assert sum(asked(POSTINGS, query, 0.5).values()) == pytest.approx(len(query.split()))
        terms = POSTINGS.terms_of(query.split())
        own = Lexical(POSTINGS, ("text",))
        np.testing.assert_allclose(
            POSTINGS.scores(*Feedback(POSTINGS, 0.0)(terms)), scores_with_feedback(own, terms)
        )
        fed = scores_with_feedback(replace(own, feedback=0.5), terms)
        assert (fed > 0).sum() > (scores_with_feedback(own, terms) > 0).sum()


def test_weighted_scores_are_linear_in_the_weights():
    terms = np.arange(20, dtype=np.int32)
    weights = RNG.random(20).astype(np.float32)
    expected = sum(
        weight * POSTINGS.scores(terms[place : place + 1]) for place, weight in enumerate(weights)
    )
    np.testing.assert_allclose(POSTINGS.scores(terms, weights), expected, rtol=1e-5)
