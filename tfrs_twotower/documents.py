"""Reading the two documents a user writes (feature spec, run config) strictly.

Duplicate keys are refused, unknown keys are refused with a suggestion, and every mistake of a
document is reported in one message that names the file and the key.
"""

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from tfrs_twotower.errors import TwoTowerError

DocumentT = TypeVar("DocumentT", bound="Document")


class Document(BaseModel):
    """A frozen part of a user's document that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _suggest_known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key '{key}'{hint}; allowed: {allowed}",
                        {
                            "key": str(key),
                            "hint": _did_you_mean(str(key), list(cls.model_fields)),
                            "allowed": ", ".join(sorted(cls.model_fields)),
                        },
                    )
        return data


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, refusing a mapping that names a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`, resolved below
                continue
            key = str(self.construct_object(key_node, deep=True))
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_yaml(path: Path, error: type[TwoTowerError]) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        TwoTowerError: (of the given type) the file is missing, unreadable, not YAML, names a key
            twice, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        others = {other.stem: other for other in sorted(path.parent.glob("*.y*ml"))}
        near = difflib.get_close_matches(path.stem, others, n=1, cutoff=0.5)
        hint = f" Did you mean {others[near[0]]}?" if near else ""
        raise error(f"{path}: there is no such file.{hint}") from None
    except (OSError, UnicodeDecodeError) as cause:
        raise error(f"{path}: cannot be read as UTF-8 text: {cause}.") from cause
    try:
        data = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a subclass of SafeLoader)
    except yaml.YAMLError as cause:
        raise error(f"{path}: not valid YAML: {' '.join(str(cause).split())}") from cause
    if data is None:
        raise error(f"{path}: the file is empty, expected a mapping of keys to values.")
    if not isinstance(data, dict):
        raise error(f"{path}: found {type(data).__name__}, expected a mapping of keys to values.")
    return data


def parse(
    document: type[DocumentT], data: dict[str, Any], where: str, error: type[TwoTowerError]
) -> DocumentT:
    """Turns a mapping into a document; `where` opens the message of what is wrong with it.

    Raises:
        TwoTowerError: (of the given type) with one line for each mistake.
    """
    try:
        return document.model_validate(data)
    except ValidationError as cause:
        raise error(_explain(where, cause)) from None


def _explain(where: str, cause: ValidationError) -> str:
    lines = []
    for problem in cause.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"]) or "the document"
        message = problem["msg"].removeprefix("Value error, ")
        found = problem.get("input")
        shown = "" if isinstance(found, dict | list) else f" (found {found!r})"
        lines.append(f"{where}: {key}: {message}{shown}")
    return "\n".join(lines)
