"""Renders the reference of all documents from their pydantic classes.

`python -m pipelines.documentation` rewrites the JSON Schemas that editors and readers of the
reports use, and the tables in the two READMEs of the documents that users write, between the
markers `<!-- generated: begin -->` and `<!-- generated: end -->`. The words are the docstrings of
the classes: written once.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tfrs_twotower.config import RunConfig
from tfrs_twotower.evaluation.comparison.comparison_document import ComparisonDocument
from tfrs_twotower.evaluation.evaluation_document import EvaluationDocument
from tfrs_twotower.specs import FeatureSpec

BEGIN = "<!-- generated: begin -->"
END = "<!-- generated: end -->"
_BOUNDS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "below {}"),
    ("pattern", "matches `{}`"),
    ("minItems", "at least {} of them"),
)


@dataclass(frozen=True)
class Reference:
    """The schema file of a document that users write, and the README that explains it."""

    model: type[BaseModel]
    directory: str
    """Relative to the repository."""

    @property
    def schema_file(self) -> str:
        """Where the JSON Schema goes, relative to the repository."""
        return f"{self.directory}/schema.json"

    @property
    def readme(self) -> str:
        """Where the tables go, relative to the repository."""
        return f"{self.directory}/README.md"


REFERENCES = (Reference(FeatureSpec, "feature_specs"), Reference(RunConfig, "pipelines/configs"))
REPORTS: dict[str, type[BaseModel]] = {
    "docs/schemas/evaluation.schema.json": EvaluationDocument,
    "docs/schemas/comparison.schema.json": ComparisonDocument,
}
"""Schema files of the documents that the project writes."""


def render_schema(model: type[BaseModel]) -> str:
    """The JSON Schema of a document, as the text of its file."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **model.model_json_schema(),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def render_reference(model: type[BaseModel]) -> str:
    """A Markdown table of the keys of a document and of each of its parts."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    parts = [_section("The document", schema, definitions)]
    parts += [_section(name, part, definitions) for name, part in definitions.items()]
    return "\n".join(parts).rstrip() + "\n"


def insert_reference(text: str, reference: str) -> str:
    """Replaces the text between the markers.

    Raises:
        ValueError: the text has not exactly one pair of markers.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"expected one {BEGIN} followed by one {END}")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n\n{reference}\n{END}{rest.split(END)[1]}"


def generated_files(repository: Path) -> Iterator[tuple[Path, str]]:
    """Each generated file and the text that it should have now."""
    for reference in REFERENCES:
        yield repository / reference.schema_file, render_schema(reference.model)
        readme = repository / reference.readme
        tables = render_reference(reference.model)
        yield readme, insert_reference(readme.read_text(encoding="utf-8"), tables)
    for schema_file, model in REPORTS.items():
        yield repository / schema_file, render_schema(model)


def _section(name: str, schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    lines = [f"### {name}", "", " ".join(schema.get("description", "").split()), ""]
    lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
    required = set(schema.get("required", ()))
    for key, field in schema.get("properties", {}).items():
        default = "**required**" if key in required else f"`{json.dumps(field.get('default'))}`"
        if isinstance(field.get("default"), dict):
            default = "see there"
        meaning = " ".join(_meaning(field, definitions).split())
        cells = (f"`{key}`", _value(field), default, meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _meaning(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A key's own docstring; else that of the part it holds, or what a `kind` is for."""
    if "description" in field:
        return str(field["description"])
    if "$ref" in field:
        return str(definitions[field["$ref"].rsplit("/", 1)[1]].get("description", ""))
    return "Chooses this form." if "const" in field else ""


def _value(field: dict[str, Any]) -> str:
    """What a key takes, in words."""
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    for union in ("anyOf", "oneOf"):
        if union in field:
            return " or ".join(dict.fromkeys(_value(member) for member in field[union]))
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{member}`" for member in field["enum"])
    words = field.get("type", "anything")
    if words == "array":
        words = f"list of {_value(field.get('items', {}))}"
    limits = [phrase.format(field[key]) for key, phrase in _BOUNDS if key in field]
    return f"{words} ({', '.join(limits)})" if limits else words


def main() -> None:
    """Rewrites every generated file."""
    repository = Path(__file__).resolve().parents[1]
    for path, text in list(generated_files(repository)):
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
