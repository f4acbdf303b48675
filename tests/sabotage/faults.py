"""The list of faults: small edits of the source, and the tests that should notice each.

`faults/ROOM.yaml` holds the edits of one room, each with

    name    what is wrong then, in words
    file    the edited file
    old     its text before, which must occur there exactly once
    new     its text after
    tests   test files that should fail, the most direct first; they run in seconds
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
LISTS = Path(__file__).with_name("faults")


@dataclass(frozen=True)
class Fault:
    """One edit."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied_to(self, text: str) -> str:
        """The file's text with the fault.

        Raises:
            ValueError: the old text does not occur exactly once, or the new one is no Python in a
                file of Python.
        """
        where = f"{self.file}, fault '{self.name}'"
        found = text.count(self.old)
        if found != 1:
            raise ValueError(
                f"{where}: the old text occurs {found} times; it must occur once. Point the edit "
                f"at the line that says the same now:\n{self.old}"
            )
        changed = text.replace(self.old, self.new)
        if changed == text:
            raise ValueError(f"{where}: the new text equals the old one.")
        if self.file.endswith(".py"):
            try:
                compile(changed, self.file, "exec")
            except SyntaxError as cause:
                raise ValueError(f"{where}: the new text is no Python: {cause}") from cause
        return changed


def read_faults() -> list[Fault]:
    """All faults, and the check that each can still be put in.

    Raises:
        ValueError: an edit does not apply, a test file is missing, or two faults have one name.
    """
    faults: list[Fault] = []
    problems = []
    for path in sorted(LISTS.glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
            faults.append(Fault(**{**entry, "tests": tuple(entry["tests"])}))
    names = [fault.name for fault in faults]
    for fault in faults:
        try:
            fault.applied_to((ROOT / fault.file).read_text(encoding="utf-8"))
        except (ValueError, OSError) as problem:
            problems.append(str(problem))
        missing = [test for test in fault.tests if not (ROOT / test).exists()]
        if missing or not fault.tests:
            problems.append(f"fault '{fault.name}': found no test file {', '.join(missing)}")
        if names.count(fault.name) > 1:
            problems.append(f"fault '{fault.name}': two faults have this name")
    if problems:
        raise ValueError("\n".join(problems))
    return faults
