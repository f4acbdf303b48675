"""What may be published, and what a bundle's directory holds afterwards."""

import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.bundle.history import MadeBy
from serving.bundle.loading import LoadedModel
from serving.bundle.publishing import (
    FinishedVersion,
    StagedVersion,
    publish,
    stage_version,
)
from serving.bundle.rollback import roll_back, undo_rollback
from serving.bundle.server_files import (
    MODELS_NAME,
    models_config,
    pinned_version,
    write_models_config,
)
from serving.bundle.versions import (
    HIGHEST_NAME,
    highest_version,
    list_versions,
    next_version,
    resolve_version,
    served_version,
    shard_name,
)
from serving.graph.release import Release
from serving.graph.signatures import trained_towers
from tests.fixtures.small_release import (
    publish_release,
    small_assets,
    small_spec,
)
from tests.unit.serving.fake_versions import publish_fake
from tests.unit.serving.fakes import write_fake_bundle
from tfrs_twotower.config import PlainTowerConfig
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


def test_a_bundle_that_gets_no_version_leaves_no_directory(tmp_path):
    with stage_version(tmp_path / "books"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_export_stays_until_another_replaces_it(tmp_path):
    bundle = tmp_path / "fake"
    original = write_fake_bundle(bundle, keep_versions=2).version
    refreshed = MadeBy(command="refresh", original=original)
    numbers = [write_fake_bundle(bundle, made_by=refreshed).version for _ in range(4)]
    assert list_versions(bundle) == [original, *numbers[-2:]]
    other = write_fake_bundle(bundle)
    assert other.removed_versions == [original, numbers[-2]]
    assert list_versions(bundle) == [numbers[-1], other.version]


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


def test_a_publication_after_a_rollback_is_served(whole_bundle, whole, tmp_path):
    bundle = tmp_path / "small"
    for version in (3, 5):
        publish_fake(bundle, version)
    assert roll_back(bundle) == pinned_version(bundle) == 3
    (written,) = publish([by_hand(whole, bundle, whole_bundle.version)])
    assert pinned_version(bundle) is None
    assert served_version(bundle) == written.version == whole_bundle.version
    assert list_versions(bundle) == [3, 5, written.version]


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
        def search(self, words_file=None):
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


@pytest.fixture
def bundle(tmp_path):
    bundle = tmp_path / "books"
    for version in (3, 5, 9):
        publish_fake(bundle, version)
    write_models_config(bundle)
    return bundle


def policy(bundle):
    text = (bundle / MODELS_NAME).read_text()
    (model,) = text_format.Parse(
        text, model_server_config_pb2.ModelServerConfig()
    ).model_config_list.config
    return model


def test_back_and_back_again_and_forward(bundle):
    assert roll_back(bundle) == 5
    assert list(policy(bundle).model_version_policy.specific.versions) == [5]
    assert resolve_version(bundle) == bundle / "5"
    assert roll_back(bundle) == 3
    assert served_version(bundle) == 3
    with pytest.raises(BundleError, match="version 3 is served and there is no earlier one"):
        roll_back(bundle)
    assert undo_rollback(bundle) == 9
    assert policy(bundle).model_version_policy.latest.num_versions == 1
    assert served_version(bundle) == 9


def test_a_config_never_names_labels(bundle):
    # TensorFlow Serving refuses a whole config with a label of a version that is not loaded yet.
    roll_back(bundle)
    assert not policy(bundle).version_labels


def test_to_a_version(bundle):
    assert roll_back(bundle, 3) == 3
    with pytest.raises(BundleError, match="there is no version 4; there are 3, 5, 9"):
        roll_back(bundle, 4)
    assert pinned_version(bundle) == 3


def test_a_damaged_version_is_not_gone_back_to(bundle):
    (bundle / "5" / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(CorruptArtifact, match=r"saved_model\.pb: does not match its checksum"):
        roll_back(bundle)
    assert pinned_version(bundle) is None


def test_what_is_no_bundle(tmp_path):
    for go in (roll_back, undo_rollback):
        with pytest.raises(BundleError, match="there is no bundle"):
            go(tmp_path)


def test_a_served_version_that_is_gone(bundle):
    write_models_config(bundle, 4)
    with pytest.raises(BundleError, match=r"serves version 4, which is not there; .*--undo"):
        served_version(bundle)


def test_a_config_that_is_none(bundle):
    (bundle / MODELS_NAME).write_text("nonsense {")
    with pytest.raises(BundleError, match="cannot be read as a ModelServerConfig"):
        pinned_version(bundle)
    undo_rollback(bundle)
    assert pinned_version(bundle) is None


def test_another_models_policy_is_not_ours(bundle):
    (bundle / MODELS_NAME).write_text(models_config("films", version=3))
    assert pinned_version(bundle) is None


def test_shards_go_back_together(tmp_path):
    shards = [tmp_path / shard_name("books", shard, 2) for shard in range(2)]
    for shard in shards:
        for version in (3, 5):
            publish_fake(shard, version)
        write_models_config(shard)
    assert roll_back(tmp_path / "books") == 3
    assert [served_version(shard) for shard in shards] == [3, 3]
    assert undo_rollback(shards[0]) == 5
    # A publication that was killed after the first shard.
    publish_fake(shards[0], 7)
    assert roll_back(tmp_path / "books") == 5
    with pytest.raises(BundleError, match=r"of its shards differ: books-shard-00000.* 7, .* 5\. A"):
        undo_rollback(tmp_path / "books")
    assert [served_version(shard) for shard in shards] == [5, 5]
    (shards[1] / "3" / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(CorruptArtifact, match="does not match its checksum"):
        roll_back(tmp_path / "books")
    assert [served_version(shard) for shard in shards] == [5, 5]
