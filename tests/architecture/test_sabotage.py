"""The list of faults fits the code as it is; `python -m tests.sabotage` runs it."""

import queue

import pytest

from tests.sabotage.__main__ import run_all
from tests.sabotage.faults import Fault, read_faults


def test_every_fault_can_still_be_put_in():
    assert len(read_faults()) >= 200


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("x = 2", "x = 3", "occurs 0 times"),
        ("x", "y", "occurs 2 times"),
        ("x = 1", "x = 1", "equals the old one"),
        ("x = 1", "x = (", "is no Python"),
    ],
)
def test_a_stale_edit_is_an_error(old, new, problem):
    fault = Fault("a name", "file.py", old, new, ("tests/test.py",))
    with pytest.raises(ValueError, match=f"file.py, fault 'a name': .*{problem}"):
        fault.applied_to("x = 1\nprint(x)\n")


def test_killed_and_alive(tmp_path, capsys):
    """A copy of a program of two lines, of which one is tested."""
    text = "ONE = 1\nTWO = 2\n"
    (tmp_path / "numbers_of.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n    gpu\n")
    test = "from numbers_of import ONE\n\n\ndef test_one():\n    assert ONE == 1\n"
    (tmp_path / "test_one.py").write_text(test)
    copies: queue.SimpleQueue = queue.SimpleQueue()
    copies.put(tmp_path)
    faults = [
        Fault(name, "numbers_of.py", name, f"{name}1", ("test_one.py",))
        for name in ("ONE = 1", "TWO = 2")
    ]
    assert run_all(copies, faults, jobs=1) == ["TWO = 2"]
    printed = capsys.readouterr().out
    assert "ONE = 1  ->  test_one.py::test_one" in printed
    assert "TWO = 2  ->  ALIVE" in printed
    assert (tmp_path / "numbers_of.py").read_text() == text
