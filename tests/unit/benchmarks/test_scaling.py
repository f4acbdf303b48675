import math
import sys

import pytest

from tests.benchmarks.results import RESULTS
from tests.benchmarks.scaling import __main__ as scaling
from tests.benchmarks.scaling import measuring, paper, table
from tests.benchmarks.scaling.measuring import Taken
from tests.benchmarks.scaling.table import Size

SMALL, LARGE = Size(100_000, 10_000), Size(400_000, 40_000)
_CHILD = "held = b'1' * 60_000_000; import time; time.sleep(1)"
_PARENT = f"""
import subprocess, sys
held = b'1' * 40_000_000
subprocess.run([sys.executable, "-c", {_CHILD!r}])
sys.exit(3)
"""


def taken(cpu_s, gigabytes=1.0, written=0):
    return Taken(cpu_s, 2 * cpu_s, int(gigabytes * 1e9), 0, written)


def whole(cpu_s, gigabytes=1.0, written=0):
    return {stage: taken(cpu_s, gigabytes, written) for stage in table.STAGES}


def test_a_size_is_read_and_written():
    assert Size.parse("1_000_000/100000") == Size(1_000_000, 100_000)
    assert str(Size(1_000_000, 100_000)) == "1M / 100k"
    with pytest.raises(ValueError, match="expected 2"):
        Size.parse("1000")


def test_children_count_for_memory_and_for_the_exit_code(tmp_path):
    """100 MB that a parent and its child hold at the same time; each alone holds less."""
    command = [sys.executable, "-c", _PARENT]
    found = measuring.run(command, tmp_path / "log", {"PYTHONDONTWRITEBYTECODE": "1"}, tmp_path)
    assert found.exit_code == 3
    assert 100e6 < found.peak_bytes < 250e6
    assert 0 < found.cpu_s < found.wall_s
    assert found.wall_s > 1


def test_twice_the_data_is_the_root_of_the_growth():
    """Four times the data is two doublings: the root of 9."""
    measured = {SMALL: {"train": taken(10)}, LARGE: {"train": taken(90)}}
    assert table.per_doubling(measured, "train") == pytest.approx(9 ** (1 / 2))
    assert table.per_doubling({SMALL: {"train": taken(10)}}, "train") is None


def test_the_table_marks_what_misses_its_bound():
    measured = {SMALL: whole(10), LARGE: whole(40) | {"embed": taken(60, 6.5)}}
    lines = table.render(measured).splitlines()
    assert lines[0] == "| stage | 100k / 10k: CPU s, GB | 400k / 40k: CPU s, GB | twice the data |"
    assert "| train | 10, 1.0 | 40, 1.0 | 2.00 |" in lines
    assert "| embed | 10, 1.0 | 60, **6.5** | **2.45** |" in lines
    assert "| sum, and the largest | 60, 1.0 | 260, 6.5 |  |" in lines
    assert lines[-1].startswith("These sizes are small")
    assert "small" not in table.render(measured | {Size(10**6, 10**5): whole(90)})


def test_a_stage_that_failed_is_named():
    lines = table.render({SMALL: {"preprocess": taken(1)}}).splitlines()
    assert "| train | failed |  |" in lines
    assert "| sum, and the largest | not whole |  |" in lines


def test_a_billion_by_hand():
    """30 s for 300,000 more: 100 for a million, 27.8 h for a billion. 1 GB more for as many."""
    measured = {SMALL: whole(10, 1.0), LARGE: whole(40, 2.0, 4 * 10**6)}
    served = {"scann": paper.Served(1.0, 0.5, 200, 800)}
    text = paper.render(measured, served)
    train = "| train | (40.0 - 10.0) / 0.3 = 100.0 | 100.0 x 1,000 / 3,600 = 27.8 | 27.8 | "
    assert f"{train}data-parallel workers | 28 cores | 10.0 GB |" in text
    slope = f"(2.0 GB - 1.0 GB) / 300,000 = {1e9 / 300_000:,.0f}"
    full = (400_000 + 62 * 300_000) / 1e6
    assert f"| train | {slope} | {full:,.0f}M |" in text
    # S = 1 + (5 - 1) / .5 = 9 million: 12 shards of 9 x 1,000 MB, 1 + .5 x 8 = 5 ms.
    assert "| scann | 1.00 + 0.50 (S - 1) ms | 9 | 12 | 9 x (200 + 800) MB = 9.0 GB |" in text
    assert "10,000 x 5.00 ms x 12 = 600" in text


def test_growth_beyond_the_double_is_carried_on():
    """Eight times the time for four times the data is 8 ** .5 for twice."""
    measured = {SMALL: whole(10), LARGE: whole(80)}
    hours = 70 / 0.3 * 1000 / 3600
    grown = hours * (8**0.5 / 2) ** math.log2(2500)
    assert f"= {hours:,.1f} | {grown:,.1f} |" in paper.render(measured, {})


def test_sizes_that_are_too_small_tell_no_rate():
    text = paper.render({SMALL: whole(10), LARGE: whole(9)}, {})
    assert "| train | (9.0 - 10.0) / 0.3: lost in the start of Python |" in text


def test_latencies_come_from_the_measured_tables():
    served = paper.read_served(RESULTS)
    assert set(served) == {"scann", "ivf"}
    for cascade in served.values():
        assert 0 < cascade.search_ms < cascade.p50_ms < 100
        assert cascade.index_mb > 100


def test_the_page_has_a_place_for_every_table_and_for_the_picture(tmp_path):
    page = tmp_path / "scaling.md"
    page.write_text(scaling.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    measured = {SMALL: whole(10), LARGE: whole(40)}
    for name in ("one.svg", "two.svg"):
        scaling.write(measured, page, tmp_path / name)
    text = page.read_text(encoding="utf-8")
    assert table.render(measured).strip() in text
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert scaling.PICTURE.exists()
