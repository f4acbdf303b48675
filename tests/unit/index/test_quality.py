import pytest

from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index.quality import resolve_kind


@pytest.mark.parametrize(
    ("settings", "num_candidates", "kind"),
    [
        ({}, 19_999, "brute_force"),
        ({}, 20_000, "scann"),
        ({"server": "stock"}, 19_999, "brute_force"),
        ({"server": "stock"}, 20_000, "ivf"),
        ({"target_overlap": 1.0}, 1_000_000, "brute_force"),
        ({"target_overlap": 1.0, "server": "stock"}, 1_000_000, "brute_force"),
        ({"kind": "scann"}, 3, "scann"),
        ({"kind": "ivf"}, 3, "ivf"),
        ({"kind": "brute_force", "server": "stock"}, 1_000_000, "brute_force"),
    ],
)
def test_auto_goes_by_size_target_and_server(settings, num_candidates, kind):
    assert resolve_kind(IndexConfig(**settings), num_candidates) == kind
