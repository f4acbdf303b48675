"""Writes the tuned run config: the user's own document, with its comments, and the changed lines.

A changed line stays where it was; a new key goes to the end of its section. Above each the old
value, the reason and the figure stand as a comment. The places come from the YAML parser. If the
edited text does not say what it should (an alias whose anchor was replaced, say), the document is
rendered anew instead, without the comments that it had.
"""

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.tuning.tuning_document import Changed
from tfrs_twotower.artifacts import replace_file
from tfrs_twotower.config import apply_override, as_override, load_run_config
from tfrs_twotower.documents import load_yaml, user_path
from tfrs_twotower.errors import ConfigError

_WIDTH = 100
_LONGEST_OLD_VALUE = 60


@dataclass(frozen=True)
class Edit:
    """One key of a document, and its new value."""

    key: str
    value: Any
    comment: str = ""
    """Lines above the key, without `#`."""


def write_tuned(
    path: Path,
    original: Path,
    overrides: Sequence[str],
    changed: Sequence[Changed],
    heading: Sequence[str],
) -> None:
    """Writes the run config of a search, which loads and runs where it lies.

    Args:
        path: where it is written.
        original: the run config that the search began with.
        overrides: `--set` of the command; they are part of what was measured.
        changed: the changes.
        heading: paragraphs at the top of the file.

    Raises:
        ConfigError: the written document would not be a run config; nothing is written.
    """
    config = load_run_config(original, tuple(overrides))
    edits = [Edit("name", config.name), *_paths(path, original, overrides)]
    for override in overrides:
        key, _, value = override.partition("=")
        if key not in ("spec", "data_root", "name"):
            edits.append(Edit(key, yaml.safe_load(value), "given with --set"))
    for one in changed:
        was = _flow(one.old)
        was = was if len(was) <= _LONGEST_OLD_VALUE else "another value"
        edits.append(Edit(one.key, one.new, f"was {was}: {one.reason}; {one.figure}"))
    text = edited(original.read_text(encoding="utf-8"), edits)
    partial = path.with_name(f".{path.stem}.partial.yaml")
    replace_file(partial, _comment("\n".join(heading), 0) + text)
    try:
        load_run_config(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _paths(path: Path, original: Path, overrides: Sequence[str]) -> list[Edit]:
    """The spec, and the data root if it is given, as they are called from the new place."""
    document = load_yaml(original, ConfigError)
    for override in overrides:
        apply_override(document, override)
    found = []
    for key in ("spec", "data_root"):
        named = document.get(key)
        if named is None:
            continue
        absolute = str(named).startswith("~") or Path(named).is_absolute()
        place = user_path(named, original.parent).resolve()
        relative = os.path.relpath(place, path.parent.resolve())
        found.append(Edit(key, named if absolute else Path(relative).as_posix()))
    return found


def edited(text: str, edits: Sequence[Edit]) -> str:
    """The text of a YAML document with some keys set, and the rest as it was if that is possible.

    Args:
        text: a mapping.
        edits: the keys; one whose value is there already changes nothing.
    """
    wanted = yaml.safe_load(text)
    for edit in edits:
        apply_override(wanted, as_override(edit.key, edit.value))
    changed = text if text.endswith("\n") else text + "\n"
    try:
        for edit in edits:
            changed = _edited(changed, edit)
        if yaml.safe_load(changed) == wanted:
            return changed
    except (yaml.YAMLError, TypeError):
        pass
    comments = [f"{edit.key}: {edit.comment}" for edit in edits if edit.comment]
    return _comment("\n".join(comments), 0) + yaml.safe_dump(
        wanted, sort_keys=False, allow_unicode=True, width=_WIDTH
    )


def _edited(text: str, edit: Edit) -> str:
    *parents, last = edit.key.split(".")
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    missing = [last]
    for place, key in enumerate(parents):
        inner = _find(node, key)
        if inner is None or not isinstance(inner[1], yaml.MappingNode):
            missing = [*parents[place:], last]
            break
        node = inner[1]
    value: Any = edit.value
    for key in reversed(missing[1:]):
        value = {key: value}
    found = _find(node, missing[0])
    if found is None:
        return _inserted(text, node, missing[0], value, edit.comment)
    old_key, old = found
    if len(missing) == 1 and _plain(old) == value and type(_plain(old)) is type(value):
        return text
    line = text.rfind("\n", 0, old_key.start_mark.index) + 1
    tail = text[_end(old) :] if _length(old) else text[old_key.end_mark.index + 1 :]
    changed = f"{text[line : old_key.end_mark.index]}: {_flow(value)}{tail}"
    return text[:line] + _comment(edit.comment, _indent(text[line:])) + changed


def _inserted(text: str, node: yaml.MappingNode, key: str, value: Any, comment: str) -> str:
    entry = f"{key}: {_flow(value)}"
    if node.flow_style:
        end = node.end_mark.index - 1
        comma = ", " if node.value else ""
        line = text.rfind("\n", 0, node.start_mark.index) + 1
        above = _comment(comment, _indent(text[line:]))
        return text[:line] + above + text[line:end].rstrip() + comma + entry + text[end:]
    indent = node.value[0][0].start_mark.column if node.value else 0
    end = text.find("\n", _end(node)) + 1 if indent else len(text)
    return text[:end] + _comment(comment, indent) + " " * indent + entry + "\n" + text[end:]


def _find(node: yaml.MappingNode, key: str) -> tuple[yaml.ScalarNode, yaml.Node] | None:
    return next((pair for pair in node.value if pair[0].value == key), None)


def _plain(node: yaml.Node) -> Any:
    """The Python value of a node."""
    return yaml.SafeLoader("").construct_document(node) if _length(node) else None


def _length(node: yaml.Node) -> int:
    return int(node.end_mark.index - node.start_mark.index)


def _end(node: Any) -> int:
    """Where the text of a node ends; a block's own mark lies behind the comments that follow."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _flow(value: Any) -> str:
    return as_override("k", value).partition("=")[2]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _comment(words: str, indent: int) -> str:
    """Comment lines of at most 100 characters, one paragraph for each line of the words."""
    lines = []
    for paragraph in words.splitlines():
        prefix = " " * indent + "# "
        lines += textwrap.wrap(
            paragraph, _WIDTH, initial_indent=prefix, subsequent_indent=prefix,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return "".join(f"{line}\n" for line in lines)
