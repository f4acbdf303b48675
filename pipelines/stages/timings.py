"""How long each stage took when it last ran, in `timings.json` under the working directory.

Durations differ between equal runs, so they stay outside of the artifacts and their fingerprints.
"""

import json
from pathlib import Path

TIMINGS_NAME = "timings.json"


def record(root: Path, stage: str, seconds: float) -> None:
    """Writes the duration of one stage, replacing its earlier one."""
    timings = read(root)
    timings[stage] = round(seconds, 3)
    temporary = root / f".{TIMINGS_NAME}.partial"
    temporary.write_text(json.dumps(timings, indent=2) + "\n", encoding="utf-8")
    temporary.replace(root / TIMINGS_NAME)


def read(root: Path) -> dict[str, float]:
    """Seconds by stage name; empty before the first stage ran."""
    try:
        timings = json.loads((root / TIMINGS_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {str(name): float(seconds) for name, seconds in timings.items()}
