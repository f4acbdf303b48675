from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from tests.unit.specs.documents import spec_data
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.specs import load_spec

SPECS = sorted((Path(__file__).parents[3] / "feature_specs").glob("*.yaml"))


def load(tmp_path, data):
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(data) if isinstance(data, dict) else data, encoding="utf-8")
    return load_spec(path)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_published_specs_load(path):
    spec = load_spec(path)
    assert spec.name == path.stem
    assert spec.licence
    assert path.read_text(encoding="utf-8").startswith(
        "# yaml-language-server: $schema=schema.json\n"
    )


def test_a_small_spec(tmp_path):
    spec = load(tmp_path, spec_data())
    assert spec.candidate_id_feature.name == "item"
    assert [feature.max_length for feature in spec.histories] == [50]
    assert spec.interactions.file_format == "csv"


def test_is_frozen(tmp_path):
    spec = load(tmp_path, spec_data())
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "other"


def features(*new):
    return {"features": list(new)}


ID = {"name": "item", "kind": "id"}
TEXT = {"name": "text", "kind": "text"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candiate": {}}, r"unknown key 'candiate' \(did you mean 'candidates?'\?\); allowed:"),
        ({"name": "Toy Set"}, r"name: .*\(found 'Toy Set'\)"),
        ({"schema_version": 2}, "schema_version"),
        (
            {"candidates": {"path": "items.csv", "id": "item", "titel": "t"}},
            r"candidates: unknown key 'titel' \(did you mean 'title'\?\)",
        ),
        ({"candidates": {"path": "items.xls", "id": "item"}}, "cannot tell the format"),
        ({"candidate": features(ID, ID)}, "'item' is declared 2 times"),
        ({"candidate": features(ID, {"name": "examples", "kind": "id"})}, "reserved input name"),
        ({"candidate": features({"name": "h", "kind": "history"})}, "belongs to the query side"),
        ({"candidate": features(TEXT)}, "a history is looked up in the candidate's id table"),
        ({"candidate": features({"name": "x", "kind": "texts"})}, "kind"),
        ({"candidate": features()}, "candidate.features"),
        (
            {"candidate": features(ID, {**TEXT, "encoder": "pretrained"})},
            "encoder: pretrained and checkpoint: DIRECTORY go together",
        ),
        (
            {"candidate": features({**ID, "hash_buckets": 9, "min_count": 3})},
            "hash_buckets excludes min_count",
        ),
        (
            {
                "query": features(TEXT),
                "candidate": features({**TEXT, "vocabulary_size": 100}),
            },
            "vocabulary 'text' is used by features with different settings",
        ),
        (
            {"query": features(TEXT), "candidate": features({**TEXT, "keep_accents": True})},
            "vocabulary 'text' is used by features with different settings",
        ),
        (
            {
                "candidate": features(
                    ID, {"name": "t", "kind": "multi_categorical", "separator": ""}
                )
            },
            "separator: String should have at least 1 character",
        ),
        (
            {"interactions": {"path": "e.csv", "query_id": "user", "candidate_id": "item"}},
            r"split\.kind: temporal needs interactions\.timestamp",
        ),
        (
            {
                "interactions": spec_data()["interactions"]
                | {"timestamp": {"column": "position", "unit": "order"}},
                "split": {"kind": "temporal"},
            },
            r"temporal needs interactions\.timestamp with times, and 'position' has unit: order",
        ),
        ({"split": {"kind": "given"}}, "needs interactions.split or queries.split"),
        (
            {"split": {"kind": "temporal", "test_from": "2024-01-01"}},
            "validation_from and test_from go together",
        ),
        ({"split": {"kind": "temporal", "test_fraction": 1.0}}, r"test_fraction.*found 1\.0"),
    ],
)
def test_mistakes_are_explained(tmp_path, changes, message):
    with pytest.raises(FeatureSpecError, match=message) as caught:
        load(tmp_path, spec_data(**changes))
    assert str(tmp_path / "toy.yaml") in str(caught.value)


def test_every_mistake_is_in_one_message(tmp_path):
    with pytest.raises(FeatureSpecError, match=r"candidates.id.*\n.*split") as caught:
        load(tmp_path, spec_data(candidates={"path": "i.csv"}, split={"kind": "random"}))
    assert len(str(caught.value).splitlines()) == 2


def test_the_order_of_the_file_takes_the_place_of_times(tmp_path):
    events = {"path": "e.csv", "query_id": "user", "candidate_id": "item"}
    spec = load(tmp_path, spec_data(interactions=events, split={"kind": "per_query_last"}))
    assert len(spec.histories) == 1


def test_features_may_share_a_vocabulary(tmp_path):
    spec = load(tmp_path, spec_data(query=features(TEXT), candidate=features(TEXT)))
    assert spec.histories == ()
