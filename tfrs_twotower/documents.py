"""Strict reading of the documents that a user writes: feature specs, run configs, grids.

Repeated keys are refused, unknown keys are refused with a suggestion, and one message reports all
mistakes of a document, each with the file and the key.
"""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from tfrs_twotower.errors import TwoTowerError, did_you_mean

DocumentT = TypeVar("DocumentT", bound="Document")


def user_path(text: str, start: Path) -> Path:
    """The path that a user's document or environment variable names.

    A leading `~` is the home directory, also where no shell has replaced it. Nothing else is: `$`
    and glob characters are part of a name.

    Args:
        text: the path.
        start: directory where relative paths start.
    """
    try:
        return start / Path(text).expanduser()
    except RuntimeError:  # no such user, or none at all: `~` is then a name
        return start / text


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
                            "hint": did_you_mean(str(key), cls.model_fields),
                            "allowed": ", ".join(sorted(cls.model_fields)),
                        },
                    )
        return data


def explain_pattern(path: Path) -> str:
    """Why TensorFlow cannot load what lies in a directory of this name; "" if it can."""
    signs = "".join(sign for sign in "*?[\\" if sign in str(path.absolute()))
    return f"TensorFlow takes the path for a pattern, because of `{signs}`" if signs else ""


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a mapping that gives a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`, resolved below
                continue
            key = str(self.construct_object(key_node, deep=True))
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_yaml(path: Path, error: type[TwoTowerError]) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        TwoTowerError: (of the given type) the file is missing, unreadable, not YAML, gives a key
            twice, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        others = (other.name for other in sorted(path.parent.glob("*.y*ml")))
        # The suffix, which all of them share, counts as similarity.
        hint = did_you_mean(path.name, others, cutoff=0.75)
        raise error(f"{path}: there is no such file{hint}. Correct the path.") from None
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
    """Turns a mapping into a document.

    Args:
        document: class of the document.
        data: its keys and values.
        where: the document's name, with which each line of an error begins.
        error: type of the error.

    Raises:
        TwoTowerError: (of the given type) the document has mistakes; one line for each.
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
        value = problem.get("input")
        shown = "" if isinstance(value, dict | list) else f" (found {value!r})"
        lines.append(f"{where}: {key}: {message}{shown}")
    return "\n".join(lines)
