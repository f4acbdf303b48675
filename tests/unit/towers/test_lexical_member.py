import json
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.reference.lexical import bm25 as oracle
from tests.unit.specs.documents import spec_data
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.config import Bm25MemberConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.saved_lexical_member import (
    copy_lexical_member,
    load_lexical_member,
    save_lexical_member,
)
from tfrs_twotower.training.closed_form_members import make_lexical_member

TEXT = {"kind": "text", "vocabulary": "words"}
TITLES = ["red shoe", "blue shoe shoe", "red hat", "", "green hat band"]
BODIES = ["", "leather", "red felt", "", "felt"]
IDS = ["a", "b", "c", "d", "e"]
WORDS = [f"{title} {body}".split() for title, body in zip(TITLES, BODIES, strict=True)]
CORPUS = Corpus(
    np.array(IDS, object),
    np.array(TITLES, object),
    {
        "title": np.array([title.encode() for title in TITLES], object),
        "body": np.array([body.encode() for body in BODIES], object),
    },
)
CONFIG = Bm25MemberConfig(k1=1.2, b=0.75, history_length=2, history_terms=2)


def spec_of(*query):
    features = [{"name": "item", "kind": "id"}, *({"name": n, **TEXT} for n in ("title", "body"))]
    data = spec_data(query={"features": list(query)}, candidate={"features": features})
    return FeatureSpec.model_validate(data)


ASKING = spec_of({"name": "question", **TEXT}, {"name": "note", **TEXT})
BUYING = spec_of(
    {"name": "views", "kind": "history", "max_length": 4},
    {"name": "buys", "kind": "history", "max_length": 1},
)
ASSETS = Assets({BUYING.candidate_id_feature.vocabulary_name: ["c", "b", "gone", "a"]}, {})


@pytest.fixture(scope="module")
def asking():
    return make_lexical_member(ASKING, CONFIG, Assets({}, {}), CORPUS)


@pytest.fixture(scope="module")
def buying():
    return make_lexical_member(BUYING, CONFIG, ASSETS, CORPUS)


def questions(*texts):
    notes = [b""] * len(texts)
    return {"question": tf.constant([text.encode() for text in texts]), "note": tf.constant(notes)}


def everywhere(member, terms):
    """Both scores of all candidates, `[batch, 2, num_candidates]`."""
    rows = tf.tile(tf.range(member.num_candidates)[tf.newaxis], [len(terms), 1])
    return member.scores(terms, rows).numpy()


def test_scores_by_hand(asking):
    """`hat` stands once in two of the five texts, of 4 words each; the average is 3 (14 / 5 = 2.8).

    rarity = log(1 + 3.5 / 2.5) = .875469; saturation = 1 / (1 + 1.2 (.25 + .75 * 4 / 2.8)).
    """
    scores = everywhere(asking, asking.query_heads(questions("Which HAT?")))[0]
    expected = math.log(2.4) / (1 + 1.2 * (0.25 + 0.75 * 4 / 2.8))
    np.testing.assert_allclose(np.expm1(scores[0]), [0, 0, expected, 0, expected], rtol=1e-6)
    np.testing.assert_allclose(scores[1], [0, 0, 1, 0, 1], rtol=1e-6)


def test_scores_are_those_of_the_oracle(asking):
    asked = ["red shoe", "felt felt hat", "leather band green", "shoe"]
    scores = everywhere(asking, asking.query_heads(questions(*asked)))
    for text, own in zip(asked, scores, strict=True):
        expected = np.array(oracle(WORDS, text.split(), 1.2, 0.75))
        np.testing.assert_allclose(own[0], np.log1p(expected), rtol=1e-5)
        np.testing.assert_allclose(own[1], expected / expected.max(), rtol=1e-5)


def test_the_texts_of_a_query_are_joined(asking):
    raw = {"question": tf.constant([b"red", b""]), "note": tf.constant([b"hat", b"red hat"])}
    scores = everywhere(asking, asking.query_heads(raw))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-6)  # sums in any order
    read = asking.encode({}, ["red hat", "red hat"])
    np.testing.assert_allclose(everywhere(asking, read), scores, rtol=1e-6)


@pytest.mark.parametrize("text", ["", "the of", "unheard"])
def test_a_query_without_known_words_scores_nothing(asking, text):
    assert not everywhere(asking, asking.query_heads(questions(text))).any()


def test_the_share_is_of_the_best_in_the_corpus_and_not_in_the_pool(asking):
    terms = asking.query_heads(questions("red shoe"))
    of_all = everywhere(asking, terms)[0]
    best = int(of_all[0].argmax())
    pool = np.array([[row for row in (1, 2, 3) if row != best]])
    listed = asking.scores(terms, tf.constant(pool)).numpy()[0]
    np.testing.assert_allclose(listed, of_all[:, pool[0]], rtol=1e-6)
    assert 0 < listed[1].max() < 1


def test_heaviest_terms_come_in_the_order_of_their_impact():
    """In `b`, `shoe` stands twice and in two texts, `blue` and `leather` once and in one."""
    texts = [" ".join(words) for words in WORDS]
    postings = build_postings(texts, k1=1.2, b=0.75)
    named = [
        [postings.terms[term] for term in row if term >= 0] for row in postings.heaviest_terms(9)
    ]
    impacts = {
        (postings.terms[term], row): impact
        for term in range(len(postings.terms))
        for row, impact in zip(
            postings.rows[postings.starts[term] : postings.starts[term + 1]],
            postings.impacts[postings.starts[term] : postings.starts[term + 1]],
            strict=True,
        )
    }
    for row, terms in enumerate(named):
        own = [(-impacts[term, row], term) for term in terms]
        assert own == sorted(own)
        assert set(terms) == {term for term, at in impacts if at == row}
    assert named[3] == []
    np.testing.assert_array_equal(postings.heaviest_terms(2), postings.heaviest_terms(9)[:, :2])


def histories(views, buys):
    def padded(lists, length):
        return tf.constant([[*ids, *[""] * (length - len(ids))] for ids in lists])

    return {"views": padded(views, 4), "buys": padded(buys, 1)}


def test_the_terms_of_a_history_are_those_of_its_latest_candidates(buying, asking):
    """Two of the views and the buy, two terms of each; a candidate that left has none."""
    heavy = buying.postings.heaviest_terms(2)
    terms = buying.query_heads(
        histories([["b", "c", "a"], ["gone", "a"], [], ["?"]], [["a"], [], [], ["?"]])
    )
    expected = [[*heavy[1], *heavy[2], *heavy[0]], [*heavy[0]], [], []]
    assert [[term for term in row if term >= 0] for row in terms.numpy().tolist()] == expected
    tokens = buying.history.inputs(histories([["b", "c", "a"]], [["a"]]))
    np.testing.assert_array_equal(buying.encode(tokens), terms[:1])
    asked = " ".join(buying.postings.terms[term] for term in expected[0])
    np.testing.assert_allclose(
        everywhere(buying, terms[:1]),
        everywhere(asking, asking.query_heads(questions(asked))),
        rtol=1e-6,
    )


def test_a_query_side_with_text_does_not_ask_for_a_history():
    both = spec_of(
        {"name": "question", **TEXT}, {"name": "views", "kind": "history", "max_length": 4}
    )
    assert make_lexical_member(both, CONFIG, ASSETS, CORPUS).history is None


NEW = {
    "title": np.array([b"azure hat", b"shoe"], object),
    "body": np.array([b"", b"suede"], object),
}
KEPT_ROWS, TO_READ = np.array([0, -1, 1, 2]), np.array([1, 2])


def same_postings(member, texts):
    expected = build_postings(texts, k1=1.2, b=0.75)
    assert member.postings.terms == expected.terms
    np.testing.assert_array_equal(member.postings.rows, expected.rows)
    np.testing.assert_array_equal(member.postings.impacts, expected.impacts)


def test_a_refreshed_corpus_is_a_new_one(asking, buying):
    """Row 1 is new, row 2 (was `b`) changed, `d` and `e` are gone; terms are numbered anew."""
    texts = ["red shoe", "azure hat", "shoe suede", "red hat red felt"]
    for member, query in ((asking, questions("red hat")), (buying, histories([["c"]], [["a"]]))):
        changed = member.refreshed(KEPT_ROWS, TO_READ, NEW)
        same_postings(changed, texts)
        asked = [member.postings.terms[term] for term in member.query_heads(query).numpy()[0]]
        kept = [term for term in asked if term in changed.postings.terms]
        terms = changed.query_heads(query).numpy()[0]
        assert [changed.postings.terms[term] for term in terms if term >= 0] == kept
        np.testing.assert_allclose(
            np.expm1(everywhere(changed, changed.query_heads(query))[0, 0]),
            oracle([text.split() for text in texts], kept, 1.2, 0.75),
            rtol=1e-5,
        )


def test_candidates_that_only_go(asking):
    left = asking.refreshed(np.array([4, 0]), np.zeros(0, np.int64), {})
    same_postings(left, ["green hat band felt", "red shoe"])


def test_a_selection_keeps_the_scores_of_the_corpus(asking):
    rows = np.array([4, 2])
    terms = asking.query_heads(questions("red hat"))
    part = asking.at(rows)
    every = everywhere(asking, terms)
    np.testing.assert_allclose(everywhere(part, terms), every[:, :, rows], rtol=1e-6)
    again = everywhere(part.at(np.array([1])), terms)
    np.testing.assert_allclose(again, every[:, :, 2:3], rtol=1e-6)


def test_a_refreshed_shard_keeps_the_texts_of_the_others(asking):
    """The shard has `b` and `d`; `d` goes, `b` stays, one comes; `a`, `c` and `e` are elsewhere."""
    shard = asking.at(np.array([1, 3]))
    raw = {name: values[:1] for name, values in NEW.items()}
    changed = shard.refreshed(np.array([-1, 0]), np.array([0]), raw)
    own = ["azure hat", "blue shoe shoe leather"]
    same_postings(changed, [*own, "red shoe", "red hat red felt", "green hat band felt"])
    assert changed.num_candidates == 2
    scores = everywhere(changed, changed.query_heads(questions("azure shoe")))[0, 0]
    words = [text.split() for text in (*own, *(" ".join(WORDS[row]) for row in (0, 2, 4)))]
    expected = oracle(words, ["azure", "shoe"], 1.2, 0.75)
    np.testing.assert_allclose(np.expm1(scores), expected[:2], rtol=1e-5)


@pytest.fixture(params=["asking", "buying"])
def saved(request, tmp_path):
    member = request.getfixturevalue(request.param)
    (tmp_path / "bm25").mkdir()
    save_lexical_member(member, ASSETS, tmp_path / "bm25")
    return member, tmp_path / "bm25"


QUERY = {**questions("red hat"), **histories([["b", "c"]], [["a"]])}


def test_round_trip(saved, tmp_path):
    member, directory = saved
    loaded = load_lexical_member(directory)
    part = member.at(np.array([1, 2]))
    copy_lexical_member(loaded.at(np.array([1, 2])), directory, tmp_path / "copy")
    for again, expected in (
        (loaded, member),
        (load_lexical_member(tmp_path / "copy"), part),
    ):
        np.testing.assert_allclose(
            everywhere(again, again.query_heads(QUERY)),
            everywhere(expected, expected.query_heads(QUERY)),
            rtol=1e-6,
        )


def test_files_that_are_missing_torn_or_do_not_fit_are_named(saved):
    member, directory = saved
    names = ["architecture.json", "postings.npz"]
    names += ["history_terms.npy"] if member.history else []
    for name in names:
        path = directory / name
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(MissingArtifact, match=rf"{name}: is missing"):
            load_lexical_member(directory)
        path.write_bytes(content[:20])
        with pytest.raises(CorruptArtifact, match=r"cannot be read"):
            load_lexical_member(directory)
        path.write_bytes(content)
    if member.history:
        for wrong in (
            member.history.terms[:-1],
            member.history.terms + 1000,
            member.history.terms.astype(float),
        ):
            np.save(directory / "history_terms.npy", wrong)
            with pytest.raises(CorruptArtifact, match=r"history_terms\.npy: is .* Train .* again"):
                load_lexical_member(directory)
    np.save(directory / "text_rows.npy", np.array([0, 5]))
    with pytest.raises(
        CorruptArtifact, match=r"text_rows\.npy names texts that postings\.npz does"
    ):
        load_lexical_member(directory)
    path = directory / "architecture.json"
    path.write_text(json.dumps({"spec": None, "history_length": None}))
    with pytest.raises(CorruptArtifact, match=r"architecture\.json: cannot be read"):
        load_lexical_member(directory)
