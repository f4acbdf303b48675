"""What may be published, and what a bundle's directory holds afterwards."""

import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from serving.bundle.loading import LoadedModel
from serving.bundle.measures import measure_model
from serving.bundle.publishing import FinishedVersion, StagedVersion, publish, stage_version
from serving.bundle.versions import HIGHEST_NAME, highest_version, list_versions, next_version
from serving.graph.release import Release
from serving.graph.signatures import trained_towers
from tests.fixtures.asking import answers
from tests.fixtures.small_release import (
    NUM_CANDIDATES,
    K,
    publish_release,
    small_assets,
    small_queries,
    small_spec,
)
from tests.unit.serving.fake_versions import publish_fake
from tfrs_twotower.config import PlainTowerConfig
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.errors import BundleError, CorruptArtifact, MissingArtifact
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.towers.build import build_towers


def test_a_number_is_never_used_again(tmp_path):
    future = int(time.time()) + 1000
    publish_fake(tmp_path, future)
    (tmp_path / HIGHEST_NAME).write_text(f"{future + 5}\n")
    assert next_version(tmp_path) == future + 6
    shutil.rmtree(tmp_path / str(future))
    assert next_version(tmp_path) == future + 6
    with (
        pytest.raises(BundleError, match=f"numbers up to {future + 5} are used up"),
        stage_version(tmp_path, future + 5),
    ):
        pass


def test_a_damaged_note_of_numbers(tmp_path):
    (tmp_path / HIGHEST_NAME).write_text("seven")
    with pytest.raises(BundleError, match=r"found 'seven', expected the largest version number"):
        highest_version(tmp_path)


def test_what_is_not_published_is_gone(tmp_path):
    with stage_version(tmp_path) as staged:
        (staged.directory / "file").write_text("x")
        assert list_versions(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_one_at_a_time(tmp_path):
    with (
        stage_version(tmp_path),
        pytest.raises(BundleError, match="another export, refresh or rollback is at work"),
        stage_version(tmp_path),
    ):
        pass


def test_a_version_without_a_manifest_is_not_published(tmp_path):
    with stage_version(tmp_path) as staged, pytest.raises(MissingArtifact, match="no finished"):
        publish([FinishedVersion(staged, 3, LoadedModel(staged.directory, None))])


def test_a_version_that_was_changed_is_not_published(whole_bundle, whole, tmp_path):
    copied = by_hand(whole, tmp_path, whole_bundle.version)
    (copied.staged.directory / "titles.parquet").write_bytes(b"")
    with pytest.raises(CorruptArtifact, match=r"titles\.parquet: does not match"):
        publish([copied])


def by_hand(loaded, bundle, version):
    """A staging directory that somebody filled with a copy."""
    directory = bundle / f".{version}.partial"
    shutil.copytree(loaded.directory, directory)
    staged = StagedVersion(bundle, version, directory)
    return FinishedVersion(staged, 3, LoadedModel(directory, loaded.model))


def test_a_copy_under_another_number_is_not_published(whole_bundle, whole, tmp_path):
    right = by_hand(whole, tmp_path / "a", whole_bundle.version)
    wrong = by_hand(whole, tmp_path / "b", whole_bundle.version + 1)
    with pytest.raises(BundleError, match="its parts do not belong together: it is version"):
        publish([right, wrong])
    assert list_versions(tmp_path / "a") == list_versions(tmp_path / "b") == []


def publish_mixed(release, tmp_path, **parts):
    """Without a pre-ranker, which plays no part here and takes its time."""
    publish_release(tmp_path / "mixed", replace(release, pre_ranker=None, **parts))


def test_an_index_of_other_vectors_is_not_published(whole_release, tmp_path):
    # The rows of another training: every candidate has its neighbour's vector.
    class Mixed(Release):
        def search(self):
            return ExactSearch(np.roll(self.corpus.vectors, 1, axis=0))

    other = Mixed(**vars(whole_release))
    with pytest.raises(BundleError, match="the index was built from other vectors than the corpus"):
        publish_mixed(other, tmp_path)
    assert list_versions(tmp_path / "mixed") == []


def test_towers_of_another_training_are_not_published(whole_release, tmp_path):
    spec, model = small_spec(), PlainTowerConfig(kind="plain", embedding_dim=8)
    other = trained_towers(build_towers(spec, model, small_assets(), seed=4), spec)
    with pytest.raises(BundleError, match="the candidate tower gives other vectors"):
        publish_mixed(whole_release, tmp_path, towers=other)
    assert list_versions(tmp_path / "mixed") == []


def test_measures_are_what_a_client_sees(whole_release, whole):
    queries, random = small_queries(70, seed=9), np.random.default_rng(9)
    ids = np.array([f"c{number:02d}" for number in range(NUM_CANDIDATES)], object)
    relevant = [random.choice(ids, 3, replace=False) for _ in range(70)]
    seen = [np.setdiff1d(random.choice(ids, 4), found) for found in relevant]
    found = measure_model(
        whole, QuerySet.of(whole_release.corpus, queries, relevant, seen), whole_release.corpus
    )
    lists = answers(whole, "serving_default", queries, exclude=[list(one) for one in seen])
    lists = lists["candidate_ids"]
    nearest = answers(whole, "candidate_generation", queries)["candidate_ids"]
    hits = [
        len({name.decode() for name in one} & set(wanted))
        for one, wanted in zip(lists, relevant, strict=True)
    ]
    assert found == {
        f"recall@{K}": round(sum(hits) / 3 / 70, 6),
        f"overlap@{K}": 1.0,
        f"coverage@{K}": round(len(set(lists.ravel())) / NUM_CANDIDATES, 6),
        f"retrieval_coverage@{K}": round(len(set(nearest.ravel())) / NUM_CANDIDATES, 6),
    }
