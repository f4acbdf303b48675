"""Refreshed bundles: what is embedded, what is taken over, and what they answer."""

import shutil

import numpy as np
import pytest

from serving.bundle.loading import load_bundle
from serving.bundle.publishing import roll_back
from serving.bundle.refresh_files import REFRESH, RefreshFiles
from serving.bundle.server_files import pinned_version
from serving.bundle.versions import list_versions, served_version
from serving.refresh.changes import encode_candidates
from serving.refresh.refresh import RefreshRequest, refresh_bundles, refreshed_release
from tests.fixtures.asking import answers
from tests.fixtures.small_release import (
    NUM_CANDIDATES,
    K,
    publish_release,
    small_corpus,
    small_queries,
    small_release,
)
from tests.unit.serving.fake_versions import publish_fake
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import BundleError, CorruptArtifact
from tfrs_twotower.towers.pre_ranker import load_pre_ranker

QUERIES = small_queries(20)
NOTHING = Corpus(np.array([], object), np.array([], object))
LISTS = ("serving_default", "candidate_generation")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bundle of all candidates but the last three, of which `c04` had another price."""
    root = tmp_path_factory.mktemp("refresh")
    release = small_release(root, small_corpus(range(NUM_CANDIDATES - 3), c04=99.0))
    return publish_release(root / "bundle" / "small", release)


class Counting:
    """Runs towers, and notes the candidates of each call."""

    def __init__(self):
        self.seen = []

    def __call__(self, tower, raw):
        self.seen.append(sorted(name.decode() for name in raw["item_id"]))
        return encode_candidates(tower, raw)


@pytest.fixture(scope="module")
def refreshed(exported):
    """The bundle after it was given all candidates, and after a rollback from a newer version."""
    bundle, counting = exported.directory.parent, Counting()
    publish_fake(bundle, exported.version + 1)
    roll_back(bundle)
    (refreshed_bundle,) = refresh_bundles([bundle], RefreshRequest(small_corpus()), counting)
    return refreshed_bundle, counting.seen


def test_only_what_changed_is_embedded(refreshed):
    refreshed_bundle, seen = refreshed
    changes = refreshed_bundle.changes
    assert (changes.num_added, changes.num_changed, changes.num_withdrawn) == (3, 1, 0)
    # Once by the retrieval tower, once by the pre-ranker's member.
    assert seen == [["c04", "c21", "c22", "c23"]] * 2


def test_it_starts_from_the_served_version_and_is_served_then(refreshed, exported):
    assert refreshed[0].written.version > exported.version + 1
    assert pinned_version(exported.directory.parent) is None
    assert served_version(exported.directory.parent) == refreshed[0].written.version


def test_it_equals_a_fresh_export_of_the_same_corpus(refreshed, whole):
    # The last candidates have no interactions there either: no popularity, nothing to EASE.
    refreshed_bundle = load_bundle(refreshed[0].written.directory)
    for signature in LISTS:
        ours, theirs = (answers(bundle, signature, QUERIES) for bundle in (refreshed_bundle, whole))
        np.testing.assert_array_equal(ours["candidate_ids"], theirs["candidate_ids"])
        np.testing.assert_allclose(ours["scores"], theirs["scores"], atol=1e-5)
    assert refreshed_bundle.titles() == whole.titles()


def test_a_refreshed_version_says_what_it_came_from(refreshed, exported):
    manifest = refreshed[0].written.manifest
    measures = manifest.details["measures"]
    names = ("overlap", "perturbed_overlap", "retrieval_coverage")
    assert measures.keys() == {f"{name}@{K}" for name in names}
    assert measures[f"overlap@{K}"] == 1.0
    assert measures[f"retrieval_coverage@{K}"] > 0.5
    assert manifest.parents["model"] == exported.manifest.parents["model"]
    assert set(manifest.parents) - set(exported.manifest.parents) == {"refresh"}
    ours, theirs = RefreshFiles(refreshed[0].written.directory), RefreshFiles(exported.directory)
    assert ours.settings() == theirs.settings()
    assert len(ours.corpus()) == NUM_CANDIDATES


def test_the_same_candidates_change_nothing_and_embed_nothing(exported):
    counting = Counting()
    given = RefreshRequest(small_corpus(range(NUM_CANDIDATES - 3), c04=99.0))
    release, changes = refreshed_release(exported.directory, given, counting)
    assert counting.seen == []
    assert len(changes.to_embed) == changes.num_withdrawn == 0
    files = RefreshFiles(exported.directory)
    before = files.corpus()
    for name in ("ids", "titles", "vectors"):
        np.testing.assert_array_equal(getattr(release.corpus, name), getattr(before, name))
    kept = load_pre_ranker(files.pre_ranker_dir)
    for ours, theirs in (
        (release.pre_ranker.members[0].candidate_heads, kept.members[0].candidate_heads),
        (release.pre_ranker.linear.candidate_vectors, kept.linear.candidate_vectors),
        (release.pre_ranker.candidate_signals, kept.candidate_signals),
    ):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_new_candidate_has_heads_and_no_popularity(exported):
    # c21, c22 and c23 are new; c04 keeps what it had under its other price.
    release, _ = refreshed_release(
        exported.directory, RefreshRequest(small_corpus()), encode_candidates
    )
    pre_ranker = release.pre_ranker
    known = np.array([1.0] * (NUM_CANDIDATES - 3) + [0.0] * 3, np.float32)
    counts = pre_ranker.candidate_signals.numpy()[:, 0]
    np.testing.assert_allclose(counts, np.log1p(np.arange(NUM_CANDIDATES)) * known, rtol=1e-6)
    assert (pre_ranker.linear.candidate_vectors.numpy().any(axis=1) == known.astype(bool)).all()
    assert pre_ranker.members[0].candidate_heads.numpy().any(axis=(1, 2)).all()


def test_a_table_that_makes_all_candidates_alike_is_refused(refreshed, exported):
    """Exact search finds them all the same: overlap alone would not notice."""

    def alike(tower, raw):
        encoded = encode_candidates(tower, raw)
        return encoded._replace(
            vectors=np.repeat(encoded.vectors[:1], len(encoded.vectors), axis=0)
        )

    bundle, before = exported.directory.parent, refreshed[0].written.manifest.details["measures"]
    dearer = {f"c{number:02d}": 77.0 for number in range(NUM_CANDIDATES)}
    expected = (
        rf"retrieval_coverage@{K} is {1 / NUM_CANDIDATES:.4f}, .* less than the "
        rf"{before[f'retrieval_coverage@{K}']:.4f} of version {refreshed[0].written.version}"
    )
    with pytest.raises(BundleError, match=expected):
        refresh_bundles([bundle], RefreshRequest(small_corpus(**dearer)), alike)
    assert list_versions(bundle)[-1] == refreshed[0].written.version


def test_what_is_refused_leaves_no_trace(exported, refreshed):
    bundle = exported.directory.parent
    before = sorted(path.name for path in bundle.iterdir())
    everything = [f"c{number:02d}" for number in range(NUM_CANDIDATES)]
    with pytest.raises(BundleError, match="no candidate would be left"):
        refresh_bundles([bundle], RefreshRequest(NOTHING, withdrawn=everything))
    assert sorted(path.name for path in bundle.iterdir()) == before


def test_a_damaged_version_is_not_refreshed(exported, tmp_path):
    bundle = tmp_path / "small"
    shutil.copytree(exported.directory, bundle / "1")
    path = bundle / "1" / REFRESH / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-4] + b"zzzz")
    with pytest.raises(CorruptArtifact, match=r"vectors\.npy: does not match its checksum"):
        refresh_bundles([bundle], RefreshRequest(small_corpus()))
    shutil.rmtree(bundle / "1" / REFRESH)
    with pytest.raises(BundleError, match="holds no refresh/"):
        refresh_bundles([bundle], RefreshRequest(small_corpus()))
    assert list_versions(bundle) == [1]
