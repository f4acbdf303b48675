import json
from pathlib import Path

import pytest

from pipelines.documentation import (
    BEGIN,
    END,
    REFERENCES,
    REPORTS,
    generated_files,
    insert_reference,
    render_reference,
)

REPOSITORY = Path(__file__).parents[3]
FRESH = [(path, text) for path, text in generated_files(REPOSITORY)]


@pytest.mark.parametrize(
    ("path", "text"), FRESH, ids=[str(path.relative_to(REPOSITORY)) for path, _ in FRESH]
)
def test_generated_files_are_fresh(path, text):
    assert path.read_text(encoding="utf-8") == text, "run python -m pipelines.documentation"


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.directory)
def test_every_key_is_explained(reference):
    table = [line for line in render_reference(reference.model).splitlines() if line[:3] == "| `"]
    unexplained = [line for line in table if line.endswith("|  |")]
    assert len(table) > 30
    assert unexplained == []


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.directory)
def test_schema_refuses_unknown_keys(reference):
    schema = json.loads((REPOSITORY / reference.schema_file).read_text(encoding="utf-8"))
    parts = [schema, *schema["$defs"].values()]
    assert all(part["additionalProperties"] is False for part in parts)


@pytest.mark.parametrize("path", REPORTS)
def test_every_key_of_a_report_is_explained_and_no_other_is_allowed(path):
    schema = json.loads((REPOSITORY / path).read_text(encoding="utf-8"))
    free = {"JsonValue"}  # the value of a setting, of any form
    parts = [schema, *(part for name, part in schema["$defs"].items() if name not in free)]
    assert len(parts) > 5
    for part in parts:
        keys = part["properties"] | part.get("patternProperties", {})
        assert part["description"]
        # A key that holds a part may leave the explanation to the part.
        explained = [key for key, form in keys.items() if {"description", "$ref"} & set(form)]
        assert explained == list(keys)
        assert part["additionalProperties"] is False


def test_only_what_is_between_the_markers_changes():
    text = insert_reference(f"before\n{BEGIN}\nold\n{END}\nafter\n", "new\n")
    assert text == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert insert_reference(text, "new\n") == text


@pytest.mark.parametrize("text", ["", f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_markers_are_needed(text):
    with pytest.raises(ValueError, match="expected one <!-- generated: begin -->"):
        insert_reference(text, "new")
