import numpy as np
import pytest

from tfrs_twotower.closed_form.bm25 import Bm25Index


def test_bm25_by_hand():
    """The term occurs twice, in one of four texts, which has 5 terms; the average is 4."""
    texts = [
        "fever fever cough rash pain",
        "cough rash pain",
        "rash pain ache cough",
        "pain ache rash cough",
    ]
    index = Bm25Index(texts, k1=1.2, b=0.75)
    fever, stop_word, unknown = map(index.scores, index.terms(["fever", "the", "unknown"]))
    idf = np.log(1 + (4 - 1 + 0.5) / (1 + 0.5))
    expected = idf * 2 / (2 + 1.2 * (1 - 0.75 + 0.75 * 5 / 4))
    assert expected == pytest.approx(0.703050, abs=1e-6)
    np.testing.assert_allclose(fever, [expected, 0, 0, 0], rtol=1e-5)
    assert not stop_word.any()
    assert not unknown.any()


def test_building_bm25_is_silent(caplog):
    with caplog.at_level("DEBUG"):
        Bm25Index(["some words", "other words"], k1=1.2, b=0.75)
    assert not caplog.records
