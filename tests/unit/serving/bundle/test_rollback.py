import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.bundle.publishing import roll_back, undo_rollback
from serving.bundle.server_files import (
    MODELS_NAME,
    models_config,
    pinned_version,
    write_models_config,
)
from serving.bundle.versions import resolve_version, served_version, shard_name
from tests.unit.serving.fake_versions import publish_fake
from tfrs_twotower.errors import BundleError, CorruptArtifact


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
    (shards[1] / "3" / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(CorruptArtifact, match="does not match its checksum"):
        roll_back(tmp_path / "books")
    assert [served_version(shard) for shard in shards] == [5, 5]
