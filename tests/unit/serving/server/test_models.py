import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.server.models import Policy, config_of, read_models
from tfrs_twotower.errors import BundleError


def models(text):
    return read_models(text_format.Parse(text, model_server_config_pb2.ModelServerConfig()))


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (Policy("latest"), [9]),
        (Policy("latest", num_versions=2), [9, 5]),
        (Policy("all"), [9, 5, 2]),
        (Policy("specific", versions=(2, 5, 7)), [5, 2]),
    ],
)
def test_policies(policy, chosen):
    assert policy.choose([2, 5, 9]) == chosen


def test_a_config_is_read():
    found = models(
        """model_config_list {
        config { name: "a" base_path: "/a" model_platform: "tensorflow"
                 model_version_policy { specific { versions: 4 versions: 6 } }
                 version_labels { key: "stable" value: 4 } }
        config { name: "b" base_path: "/b" model_version_policy { all {} } }
        config { name: "c" base_path: "/c" model_version_policy { latest { num_versions: 3 } } }
        config { name: "d" base_path: "/d" } }"""
    )
    assert found["a"].policy == Policy("specific", versions=(4, 6))
    assert found["a"].labels == (("stable", 4),)
    assert found["b"].policy == Policy("all")
    assert found["c"].policy == Policy("latest", num_versions=3)
    assert found["d"].policy == Policy("latest")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('name: "a" base_path: "/a" } config { name: "a" base_path: "/b"', "'a' twice"),
        ('base_path: "/a"', "without a name"),
        ('name: "a"', "has no base_path"),
        ('name: "a" base_path: "/a" model_platform: "pytorch"', "found the platform 'pytorch'"),
        (
            'name: "a" base_path: "/a" version_labels { key: "s-1" value: 4 }',
            "found the label 's-1'",
        ),
        (
            'name: "a" base_path: "/a" model_version_policy { specific {} }',
            "names no versions",
        ),
    ],
)
def test_wrong_configs(entry, message):
    with pytest.raises(BundleError, match=message):
        models(f"model_config_list {{ config {{ {entry} }} }}")


def test_a_directory_of_bundles(tmp_path):
    for name, version in (("one", 3), ("two", 4)):
        (tmp_path / name / str(version)).mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "two" / "models.config").write_text(
        'model_config_list { config { name: "two" base_path: "/models/two" '
        "model_version_policy { specific { versions: 4 } } } }"
    )
    found = read_models(config_of(tmp_path))
    assert sorted(found) == ["one", "two"]
    assert found["one"].policy == Policy("latest")
    assert found["two"].policy == Policy("specific", versions=(4,))
    assert found["two"].base_path == tmp_path / "two"
    assert list(read_models(config_of(tmp_path / "one"))) == ["one"]


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="there is no bundle"):
        config_of(tmp_path)
