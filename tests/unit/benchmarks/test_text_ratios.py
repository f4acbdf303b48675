import numpy as np
import pytest

from tests.benchmarks.million_candidates.measuring import Times
from tests.benchmarks.text_ratios import (
    DPR,
    HALF,
    LATE,
    NARROW,
    NARROW_HALF,
    NARROW_INT8,
    Sizes,
    System,
    systems_of,
    table,
)

NAMES = (DPR, "DPR, int8", NARROW, NARROW_INT8, HALF, NARROW_HALF, LATE)


def test_systems_are_weighed_by_hand_and_answer():
    systems = systems_of(120, Sizes(dim=8, width=4, layers=2, tokens=3, token_dim=4))
    assert tuple(systems) == NAMES
    answers = {name: systems[name].ask(1) for name in (DPR, "DPR, int8", NARROW_HALF, LATE)}
    for rows in answers.values():
        assert rows.shape == (1, 100)
        assert len(set(rows[0].tolist())) == 100
    stored = [system.bytes_per_candidate for system in systems.values()]
    # Eight numbers of four bytes; of one byte, with a scale; four of each; and three tokens of four
    # bytes with a scale each, beside the constant of the score.
    assert stored == [32, 8 + 4, 16, 4 + 4, 32, 4 + 4, 3 * 4 + 3 * 4 + 4]
    # Vectors in eight bits find nearly what those in float32 find; fewer layers and entries do not.
    exact, rounded, half, _ = (set(rows[0].tolist()) for rows in answers.values())
    assert len(exact & rounded) >= 97 > len(exact & half)


def test_the_table():
    seconds = dict(zip(NAMES, (4.0, 4.0, 3.0, 2.0, 2.0, 1.0, 8.0), strict=True))
    times = {name: Times([[1e-3 * own] * 3] * 2) for name, own in seconds.items()}
    systems = {name: System(lambda number: number, 1000.0 / own) for name, own in seconds.items()}
    lines = table(systems, times).splitlines()
    assert lines[2] == "| DPR, float32 | 4.00 | 1.00 | 0.50 | 250 |"
    assert "| Matryoshka, int8: of late interaction, int8 | 0.250 | 0.34 | 4.000 | 0.1 |" in lines


def test_ratios_are_of_the_median_turn():
    own, other = Times([[1.0], [3.0], [2.0]]), Times([[2.0], [2.0], [2.0]])
    assert own.ratio(other) == pytest.approx(np.median([0.5, 1.5, 1.0]))
