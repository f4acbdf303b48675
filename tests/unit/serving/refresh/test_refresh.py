"""Refreshed bundles: what is embedded, what is taken over, and what they answer."""

import shutil

import numpy as np
import pytest

from serving.bundle.history import original_of, read_history
from serving.bundle.loading import load_bundle
from serving.bundle.refresh_files import REFRESH, RefreshFiles
from serving.bundle.rollback import roll_back
from serving.bundle.server_files import pinned_version
from serving.bundle.versions import list_versions, served_version
from serving.refresh.changes import encode_candidates
from serving.refresh.refresh import refresh_bundles
from serving.refresh.refreshed_release import Refreshable, RefreshRequest, refreshed_release
from serving.server.request_tensors import read_signature_defs
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
from tfrs_twotower.config import GateConfig
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import BundleError, CorruptArtifact
from tfrs_twotower.towers.pre_ranker import load_pre_ranker
from tfrs_twotower.towers.storage import load_towers

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


def test_what_a_request_may_leave_out_stays_so(refreshed, exported):
    directories = [exported.directory, refreshed[0].written.directory]
    before, after = (read_signature_defs(directory).signature_def for directory in directories)
    assert "exclude_ids" in before["serving_default"].defaults
    for name in before:
        assert before[name].defaults == after[name].defaults


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
    plan = Refreshable.of_version(exported.directory).plan(given)
    release, changes = refreshed_release(plan, counting), plan.changes
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
    plan = Refreshable.of_version(exported.directory).plan(RefreshRequest(small_corpus()))
    release = refreshed_release(plan, encode_candidates)
    pre_ranker = release.pre_ranker
    known = np.array([1.0] * (NUM_CANDIDATES - 3) + [0.0] * 3, np.float32)
    counts = pre_ranker.candidate_signals.numpy()[:, 0]
    np.testing.assert_allclose(counts, np.log1p(np.arange(NUM_CANDIDATES)) * known, rtol=1e-6)
    assert (pre_ranker.linear.candidate_vectors.numpy().any(axis=1) == known.astype(bool)).all()
    assert pre_ranker.members[0].candidate_heads.numpy().any(axis=(1, 2)).all()


def test_every_tower_embeds_what_is_new_at_the_width_that_is_served(tmp_path):
    before = small_corpus(range(NUM_CANDIDATES - 3), c04=99.0)
    release = small_release(tmp_path / "parts", before, num_members=3, width=5)
    version = publish_release(tmp_path / "bundle" / "small", release)
    plan = Refreshable.of_version(version.directory).plan(RefreshRequest(small_corpus()))
    refreshed = refreshed_release(plan, encode_candidates)
    towers = load_towers(tmp_path / "parts" / "towers", width=5)
    expected = encode_candidates(towers.candidate, small_corpus().raw).vectors
    np.testing.assert_allclose(refreshed.corpus.vectors, expected, atol=1e-6)
    members = refreshed.pre_ranker.members
    assert len(members) == 3
    for member in members:
        expected = encode_candidates(member.towers.candidate, small_corpus().raw).heads
        np.testing.assert_allclose(member.candidate_heads.numpy(), expected, atol=1e-6)


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


def test_a_refresh_without_effect_publishes_nothing(refreshed, exported):
    bundle, counting = exported.directory.parent, Counting()
    before = sorted(path.name for path in bundle.iterdir())
    for request in (
        RefreshRequest(small_corpus()),
        RefreshRequest(small_corpus(), replace=True),
        RefreshRequest(small_corpus(range(4, 9)), withdrawn=["nobody", "none"]),
        RefreshRequest(NOTHING, withdrawn=["nobody"]),
    ):
        (outcome,) = refresh_bundles([bundle], request, counting)
        assert (outcome.written, outcome.changes.nothing) == (None, True)
        assert outcome.served == refreshed[0].written.version
        assert outcome.changes.unknown == sorted(request.withdrawn)
    assert counting.seen == []
    assert sorted(path.name for path in bundle.iterdir()) == before


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        (range(16), r"it has 16 candidates, 33\.3% fewer than the 24 of version"),
        (range(3), r"its lists have 3 candidates, and clients may ask version \d+ for 5"),
        (range(50), r"it has 50 candidates, 108\.3% more than the 24 of version"),
    ],
)
def test_a_corpus_of_another_size_is_refused_before_it_is_embedded(
    refreshed, exported, numbers, complaint
):
    bundle, counting = exported.directory.parent, Counting()
    before = sorted(path.name for path in bundle.iterdir())
    with pytest.raises(BundleError, match=complaint):
        refresh_bundles([bundle], RefreshRequest(small_corpus(numbers), replace=True), counting)
    assert counting.seen == []
    assert sorted(path.name for path in bundle.iterdir()) == before


def test_a_refresh_of_titles_alone(exported, tmp_path):
    bundle, counting = tmp_path / "small", Counting()
    shutil.copytree(exported.directory, bundle / exported.directory.name)
    corpus = small_corpus(range(5, 7))
    corpus.titles[0] = "Another"
    limits = GateConfig(max_shrink=0.06)
    (outcome,) = refresh_bundles(
        [bundle], RefreshRequest(corpus), counting, gate_config=limits, arguments="--candidates x"
    )
    assert (outcome.changes.num_changed, counting.seen) == (1, [])
    assert load_bundle(bundle).titles()["c05"] == "Another"
    (history,) = read_history(bundle)
    made_by = history.records[-1].made_by
    assert made_by.arguments == "--candidates x"
    assert made_by.original == original_of(bundle, exported.version) == exported.version
    # The next refresh goes by the limits of the export again.
    files = RefreshFiles(outcome.written.directory)
    assert files.settings().export.gate == GateConfig()
    assert files.since_export().changed == ["c05"]
    withdrawal = RefreshRequest(NOTHING, withdrawn=["c00", "c01"])
    with pytest.raises(BundleError, match=r"9\.5% fewer than the 21 .*allowed 6"):
        refresh_bundles([bundle], withdrawal, gate_config=limits)


def after(release, request):
    """The release of a refresh, without publishing it."""
    return refreshed_release(Refreshable.of_release(release).plan(request), encode_candidates)


def test_a_release_notes_what_refreshes_changed_since_the_export(whole_release, tmp_path):
    first = RefreshRequest(small_corpus(range(8, 26), c09=50.0), withdrawn=["c01", "c02"])
    release = after(whole_release, first)
    noted = release.refresh.since_export
    assert (noted.added, noted.changed, noted.withdrawn) == (
        ["c24", "c25"],
        ["c09"],
        ["c01", "c02"],
    )
    version = tmp_path / "1"
    version.mkdir()
    RefreshFiles(version).write(release, release.refresh, np.zeros(8, np.float32))
    read = RefreshFiles(version).since_export()
    assert (read.exported, read.given.ids.tolist()) == (noted.exported, ["c09", "c24", "c25"])
    expected = small_corpus(range(26), c09=50.0).take(np.array([9, 24, 25]))
    assert read.given.titles.tolist() == expected.titles.tolist()
    for name, values in expected.raw.items():
        np.testing.assert_array_equal(read.given.raw[name], values)
        assert read.given.raw[name].dtype == values.dtype
    # One comes back as it was, one comes back dearer, and one that was added goes again.
    second = RefreshRequest(small_corpus(range(1, 3), c02=9.0), withdrawn=["c24"])
    release = after(release, second)
    noted = release.refresh.since_export
    assert (noted.added, noted.changed, noted.withdrawn) == (["c25"], ["c02", "c09"], [])
    assert noted.given.raw["price"].tolist() == [9.0, 50.0, 25.0]
    release = after(release, RefreshRequest(small_corpus(), replace=True))
    assert len(release.refresh.since_export) == 0
    (version / REFRESH / "refreshed.parquet").write_bytes(b"")
    with pytest.raises(CorruptArtifact, match=r"refreshed\.parquet: cannot be read"):
        RefreshFiles(version).since_export()


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
