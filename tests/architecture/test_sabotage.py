"""The list of faults fits the code as it is; `python -m tests.sabotage` runs it."""

import pytest

from tests.sabotage.faults import Fault, read_faults


def test_every_fault_can_still_be_put_in():
    assert len(read_faults()) >= 75


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
