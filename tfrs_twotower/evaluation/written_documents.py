"""The base of the documents that the project writes for others to read, as JSON.

Documents are frozen pydantic models whose fields are the keys of the file. A value that
could not be computed is null; NaN and infinity, which JSON does not have, are refused.
"""

import json
import os
import platform
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from tfrs_twotower.artifacts.manifest import package_versions

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Part(BaseModel):
    """A frozen part of a document that the project writes; unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True
    )

    def as_json(self) -> dict[str, JsonValue]:
        """The part as it is written to a file, without keys that were not given."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _schema_of_file(schema: dict[str, Any], part: "type[PartWithLength]") -> None:
    """Replaces the key by a pattern, and leaves out a length that has no key of its own."""
    properties = schema["properties"]
    pattern = f"^{part.figure_at_length}@[1-9][0-9]*$"
    schema["patternProperties"] = {pattern: properties.pop(part.figure_at_length)}
    for name, field in part.model_fields.items():
        if field.exclude:
            del properties[name]
    schema["required"] = [name for name in schema["required"] if name in properties]
    schema["minProperties"] = len(schema["required"]) + 1
    schema["maxProperties"] = len(properties) + 1


class PartWithLength(Part):
    """A part with one key that ends in a list length, such as `ann_overlap@100`."""

    model_config = ConfigDict(json_schema_extra=_schema_of_file)

    figure_at_length: ClassVar[str]
    """The field that holds the figure: the key without its length."""
    length: ClassVar[str]
    """The field that holds the list length."""

    @model_validator(mode="before")
    @classmethod
    def _split_key(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = dict(data)
        for key in data:
            name, at, k = key.partition("@")
            if at and name == cls.figure_at_length and k.isdecimal():
                fields[name] = fields.pop(key)
                if fields.setdefault(cls.length, int(k)) != int(k):
                    raise ValueError(f"'{key}' and {cls.length} {fields[cls.length]} differ")
        return fields

    @model_serializer(mode="wrap")
    def _join_key(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        joined = f"{self.figure_at_length}@{getattr(self, self.length)}"
        return {
            joined if key == self.figure_at_length else key: value
            for key, value in handler(self).items()
        }


class Environment(Part):
    """Where figures were measured."""

    python: str
    """Version of Python."""
    platform: str
    """Operating system and processor."""
    processors: int | None
    """Number of processors; null if the system does not say."""
    packages: dict[str, str]
    """Versions of the packages that figures may depend on."""

    @classmethod
    def of_this_process(cls) -> "Environment":
        """The environment that this process runs in."""
        return cls(
            python=platform.python_version(),
            platform=platform.platform(),
            processors=os.cpu_count(),
            packages=package_versions(),
        )


def write_json(path: Path, document: Part) -> None:
    """Writes a document as indented JSON."""
    text = json.dumps(document.as_json(), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
