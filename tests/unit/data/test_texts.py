import numpy as np

from tfrs_twotower.data.corpus import joined_texts


def test_text_features_are_joined_in_the_order_of_the_spec(spec):
    raw = {
        "title": np.array([b"Ein Titel", "Größe".encode(), b""], object),
        "description": np.array([b"and words", b"", b""], object),
        "brand": np.array([b"x", b"y", b"z"], object),
    }
    texts = joined_texts(raw, spec.candidate.features)
    assert texts == ["Ein Titel and words", "Größe", ""]


def test_a_side_without_text_has_none(spec):
    features = tuple(f for f in spec.query.features if f.kind != "text")
    assert joined_texts({}, features) is None
