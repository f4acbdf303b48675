"""A small feature spec as a mapping, to be changed by a test."""

from typing import Any


def spec_data(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": "toy",
        "interactions": {
            "path": "events.csv",
            "query_id": "user",
            "candidate_id": "item",
            "timestamp": {"column": "time"},
        },
        "candidates": {"path": "items.csv", "id": "item"},
        "query": {"features": [{"name": "history", "kind": "history"}]},
        "candidate": {"features": [{"name": "item", "kind": "id"}]},
        "split": {"kind": "temporal"},
    }
    return {**data, **changes}
