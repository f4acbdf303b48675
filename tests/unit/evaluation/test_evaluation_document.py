"""The classes of both documents against files that were written before there were any."""

import copy
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.unit.evaluation.documents import golden_text
from tests.unit.evaluation.json_schema import problems_of
from tfrs_twotower.evaluation.comparison.comparison_document import ComparisonDocument
from tfrs_twotower.evaluation.evaluation_document import EvaluationDocument, Figure
from tfrs_twotower.evaluation.written_documents import write_json

DOCUMENTS = {"evaluation": EvaluationDocument, "comparison": ComparisonDocument}


@pytest.fixture
def content():
    return json.loads(golden_text("evaluation"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_an_earlier_file_is_parsed_and_written_byte_by_byte(name, tmp_path):
    document = DOCUMENTS[name].model_validate_json(golden_text(name))
    write_json(tmp_path / "again.json", document)
    assert (tmp_path / "again.json").read_text(encoding="utf-8") == golden_text(name)


def test_keys_that_end_in_a_list_length_are_attributes(content):
    document = EvaluationDocument.model_validate(content)
    funnel, space = document.funnel, document.embedding_space
    assert (funnel.index_k, funnel.ann_overlap) == (100, content["funnel"]["ann_overlap@100"])
    assert funnel.pool.recall.mean == content["funnel"]["pool"]["recall@12"]["mean"]
    assert funnel.pool.num_candidates == 12
    assert space.hubness_k == 2
    assert space.hubness_skewness == content["embedding_space"]["hubness_skewness@2"]
    pool = content["funnel"]["pool"]
    pool["recall@13"] = pool.pop("recall@12")
    for order in (list(pool), list(reversed(pool))):
        content["funnel"]["pool"] = {key: pool[key] for key in order}
        with pytest.raises(ValidationError, match="'recall@13' and num_candidates 12 differ"):
            EvaluationDocument.model_validate(content)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(ValidationError, match="finite"):
        Figure(mean=value, ci95=(0.0, 1.0), queries=1)


def test_a_document_cannot_be_changed(content):
    document = EvaluationDocument.model_validate(content)
    with pytest.raises(ValidationError, match="frozen"):
        document.dataset = "other"


def with_changes(content):
    """The document, and what is wrong in it."""
    for place, change in (
        ((), {"extra": 1}),
        (("funnel",), {"ann_overlap@x": 0.5}),
        (("funnel",), {"cascade": None}),
        (("protocol", "baselines", "ease"), {"lamda": 2}),
        (("leakage_check",), {"verdict": "maybe"}),
        (("comparisons", 0), {"p": "small"}),
    ):
        changed = copy.deepcopy(content)
        part = changed
        for key in place:
            part = part[key]
        part |= change
        yield next(iter(change)), changed


def test_wrong_keys_and_values_are_refused(content):
    for key, changed in with_changes(content):
        with pytest.raises(ValidationError, match=key):
            EvaluationDocument.model_validate(changed)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_published_schema_describes_the_file(name):
    schemas = Path(__file__).parents[3] / "docs" / "schemas"
    schema = json.loads((schemas / f"{name}.schema.json").read_text(encoding="utf-8"))
    assert problems_of(json.loads(golden_text(name)), schema, schema["$defs"]) == []


def test_the_published_schema_refuses_what_the_classes_refuse(content):
    path = Path(__file__).parents[3] / "docs" / "schemas" / "evaluation.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    for key, changed in with_changes(content):
        assert problems_of(changed, schema, schema["$defs"]), key
