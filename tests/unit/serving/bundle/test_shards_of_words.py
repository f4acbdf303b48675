"""Shards of an index that searches words: merged lists are those of the whole corpus."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from serving.bundle.shards_together import ShardReleases, with_joint_statistics
from serving.bundle.versions import merge_lists, rows_of_shards
from serving.graph.cascade import Cascade
from serving.graph.release import Probe, RefreshParts, Release, ReleaseSettings, content_hashes
from serving.graph.signatures import trained_towers
from serving.refresh.changes import encode_candidates
from serving.refresh.refreshed_release import Refreshable, RefreshRequest, refreshed_release
from tests.fixtures.small_release import small_spec
from tests.reference.lexical import bm25
from tfrs_twotower.artifacts import Lineage
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.config import ExportConfig, IndexConfig, PlainTowerConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import BundleError, FeatureSpecError
from tfrs_twotower.index.restricts import CandidateAttributes
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.storage import save_towers

NUM_CANDIDATES, NUM_SHARDS, K = 30, 3, 8
WORDS = [f"word{number:02d}" for number in range(25)]
COLOURS = ("red", "green", "blue")


def texts(numbers, seed):
    """Of a Zipf distribution, so that shards disagree about how rare a word is."""
    random = np.random.default_rng(seed)
    share = 1.0 / np.arange(1, len(WORDS) + 1)
    lengths = random.integers(1, 20, len(numbers))
    return [" ".join(random.choice(WORDS, n, p=share / share.sum())) for n in lengths]


def corpus(numbers, seed=0, **changed):
    """Candidates `c00` and so on; keywords are other texts."""
    ids = [f"c{number:02d}" for number in numbers]
    own = [changed.get(name, text) for name, text in zip(ids, texts(ids, seed), strict=True)]
    raw = {
        "colour": np.array([COLOURS[number % 3].encode() for number in numbers], object),
        "text": np.array([text.encode() for text in own], object),
    }
    return Corpus(np.array(ids, object), np.array(ids, object), raw)


def spec():
    data = small_spec().model_dump(mode="json")
    text = {"name": "text", "kind": "text", "max_tokens": 4, "vocabulary": "words"}
    data["query"]["features"] = [text]
    data["candidate"]["features"] = [{"name": "colour", "kind": "categorical"}, text]
    return parse(FeatureSpec, data, "spec", FeatureSpecError)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A release of untrained towers whose index searches words alone."""
    model, known = PlainTowerConfig(embedding_dim=4), corpus(range(NUM_CANDIDATES))
    vocabularies = {"words": ["[PAD]", "[UNK]", *WORDS], "colour": list(COLOURS)}
    assets, directory = Assets(vocabularies, {"numeric": {}}), tmp_path_factory.mktemp("words")
    towers = build_towers(spec(), model, assets, seed=0)
    save_towers(towers, spec(), model, assets, directory)
    vectors = encode_candidates(towers.candidate, known.raw).vectors
    settings = ReleaseSettings(
        name="words",
        exact=False,
        export=ExportConfig(k=K, shards=NUM_SHARDS, restricts=("colour",)),
        index=IndexConfig(kind="lexical", k=K),
    )
    postings = build_postings([text.decode() for text in known.raw["text"]], k1=1.2, b=0.75)
    index = settings.index_of(
        Corpus(known.ids, known.titles, {}, vectors), vectors, None, Lexical(postings, ("text",))
    )
    probe = Probe(np.array([0]), known.take(np.array([0])).raw)
    return Release(
        settings,
        trained_towers(towers, spec()),
        index,
        vectors,
        Lineage("spec", "settings", {}),
        attributes=CandidateAttributes({"colour": known.raw["colour"]}),
        refresh=RefreshParts(directory, directory, content_hashes(known.raw), probe),
    )


def shards_of(whole):
    rows = rows_of_shards(whole.corpus.ids, NUM_SHARDS)
    return [whole.shard(number, own, whole.refresh.probe) for number, own in enumerate(rows)]


def answered(release, requests):
    """Ids and scores of a release, as its graph answers."""
    cascade = tf.function(Cascade(release), autograph=False)
    queries, *lists = (tf.constant(values) for values in requests)
    scores, ids = cascade({"text": queries}, *lists)
    return ids.numpy(), scores.numpy()


def requests(size, seed):
    """Queries of any length, with exclusions and restricts; "" is none."""
    random = np.random.default_rng(seed)
    queries = [" ".join(random.choice(WORDS, random.integers(0, 25))) for _ in range(size)]
    ids = [f"c{number:02d}" for number in range(NUM_CANDIDATES)]
    tokens = ["", *(f"colour={colour}" for colour in COLOURS)]
    return (
        queries,
        random.choice(["", *ids], (size, 6)),
        random.choice(tokens[:2], (size, 1)),
        random.choice(tokens, (size, 1)),
    )


def scores_of(releases, query):
    """BM25 of every candidate of some releases, by id."""
    scores = {}
    for release in releases:
        postings = release.index.lexical.postings
        own = postings.scores(postings.terms_of(query.split()))
        scores |= dict(zip(release.corpus.ids.tolist(), own.tolist(), strict=True))
    return scores


def test_a_shard_scores_its_own_candidates_as_the_whole_corpus_does(whole):
    """By loops over the whole corpus, from the definition."""
    known = corpus(range(NUM_CANDIDATES))
    split = [text.decode().split() for text in known.raw["text"]]
    query = [WORDS[0], WORDS[3], WORDS[20]]
    expected = dict(zip(known.ids, bm25(split, query, 1.2, 0.75), strict=True))
    assert scores_of(shards_of(whole), " ".join(query)) == pytest.approx(expected, rel=1e-5)


def test_merged_lists_are_those_of_one_bundle(whole):
    asked = requests(60, 1)
    expected_ids, expected_scores = answered(whole, asked)
    lists = zip(*(answered(shard, asked) for shard in shards_of(whole)), strict=True)
    ids, scores = merge_lists(*lists, K)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-5)
    assert 0 < (ids == b"").mean() < 1


def test_a_refresh_of_all_shards_counts_the_words_of_all(whole):
    """New words in one shard only, texts that changed and candidates that left another."""
    given = corpus(range(5, NUM_CANDIDATES + 4), c09="word24 word24 fresh", c11="fresh")
    request = RefreshRequest(given, withdrawn=["c00", "c01", "c02"])

    def refreshed(release):
        return refreshed_release(Refreshable.of_release(release).plan(request), encode_candidates)

    parts = [refreshed(shard) for shard in shards_of(whole)]
    shards, after = with_joint_statistics(parts), refreshed(whole)
    (alone,) = with_joint_statistics([after])
    assert alone is after
    for query in ("fresh word24", *WORDS):
        expected = scores_of([after], query)
        assert scores_of(shards, query) == pytest.approx(expected, rel=1e-5)
        if sum(expected.values()):
            assert scores_of(parts, query) != pytest.approx(expected, rel=1e-3), "each by itself"
    assert ShardReleases(shards).searches_words
    with pytest.raises(BundleError, match=r"found 2 of 3 shards.*Refresh all shards in one call"):
        with_joint_statistics(parts[:2])


def test_other_indexes_have_no_statistics(whole):
    shards = [
        replace(shard, index=replace(shard.index, lexical=None)) for shard in shards_of(whole)
    ]
    assert with_joint_statistics(shards[:1]) == shards[:1]
