"""Tests that start processes have a longer limit than the others."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import PROCESS_TIMEOUT_S, pytest_collection_modifyitems

TESTS = Path(__file__).parents[1]


class Item:
    """A collected test."""

    def __init__(self, path, *marks, **module):
        self.path, self.module = TESTS / path, SimpleNamespace(**module)
        self.marks = list(marks)

    def get_closest_marker(self, name):
        return next((mark for mark in self.marks if mark.name == name), None)

    def add_marker(self, mark):
        self.marks.append(mark.mark)

    @property
    def limit_s(self):
        mark = self.get_closest_marker("timeout")
        return mark and mark.args[0]


@pytest.mark.parametrize(
    ("item", "limit_s"),
    [
        (Item("e2e/test_a.py"), PROCESS_TIMEOUT_S),
        (Item("packaging/test_a.py"), PROCESS_TIMEOUT_S),
        (Item("unit/losses/test_a.py"), None),
        (Item("unit/losses/test_a.py", subprocess=object()), PROCESS_TIMEOUT_S),
        (Item("e2e/test_a.py", pytest.mark.timeout(7).mark), 7),
    ],
)
def test_who_gets_which_limit(item, limit_s):
    pytest_collection_modifyitems([item])
    assert item.limit_s == limit_s


def test_the_limit_is_given(request):
    limit_s = float(request.config.getini("timeout"))
    assert limit_s * 2 < PROCESS_TIMEOUT_S
