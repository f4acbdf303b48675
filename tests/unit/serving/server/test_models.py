import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.server.models import config_of, read_models, wanted_versions
from tfrs_twotower.errors import BundleError


def models(text):
    return read_models(text_format.Parse(text, model_server_config_pb2.ModelServerConfig()))


def model(text):
    return text_format.Parse(f'name: "a" {text}', model_server_config_pb2.ModelConfig())


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("", [9]),
        ("model_version_policy { latest {} }", [9]),
        ("model_version_policy { latest { num_versions: 2 } }", [9, 5]),
        ("model_version_policy { all {} }", [9, 5, 2]),
        ("model_version_policy { specific { versions: [7, 2, 5] } }", [5, 2]),
    ],
)
def test_policies(policy, wanted):
    assert wanted_versions(model(policy), [2, 5, 9]) == wanted


def test_a_config_is_read():
    configs = models(
        """model_config_list {
        config { name: "a" base_path: "/a" model_platform: "tensorflow"
                 model_version_policy { specific { versions: 4 versions: 6 } }
                 version_labels { key: "stable" value: 4 } }
        config { name: "b" base_path: "/b" model_platform: "tensorflow"
                 model_version_policy { all {} } }
        config { name: "c" base_path: "/c" model_platform: "tensorflow"
                 model_version_policy { latest { num_versions: 3 } } }
        config { name: "d" base_path: "/d" model_platform: "tensorflow" } }"""
    )
    on_disk = [3, 4, 5, 6, 7]
    assert {name: wanted_versions(config, on_disk) for name, config in configs.items()} == {
        "a": [6, 4],
        "b": [7, 6, 5, 4, 3],
        "c": [7, 6, 5],
        "d": [7],
    }
    assert configs["a"].version_labels == {"stable": 4}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('name: "a" base_path: "/a" } config { name: "a" base_path: "/b"', "'a' twice"),
        ('base_path: "/a"', "without a name"),
        ('name: "a"', "found the base_path ''; expected an absolute path"),
        ('name: "a" base_path: "bundle/a"', "found the base_path 'bundle/a'"),
        ('name: "a" base_path: "/a"', "found the model_platform ''"),
        (
            'name: "a" base_path: "/a" model_platform: "pytorch"',
            "found the model_platform 'pytorch'",
        ),
        (
            'name: "a" base_path: "/a" model_platform: "tensorflow" '
            'version_labels { key: "s-1" value: 4 }',
            "found the label 's-1'",
        ),
        (
            'name: "a" base_path: "/a" model_platform: "tensorflow" '
            "model_version_policy { specific {} }",
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
    configs = read_models(config_of(tmp_path))
    assert sorted(configs) == ["one", "two"]
    assert wanted_versions(configs["one"], [3, 4]) == [4]
    assert wanted_versions(configs["two"], [3, 4, 5]) == [4]
    assert configs["two"].base_path == str(tmp_path / "two")
    assert list(read_models(config_of(tmp_path / "one"))) == ["one"]


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="there is no bundle"):
        config_of(tmp_path)
