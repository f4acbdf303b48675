"""The figures as text."""

from typing import Any


def render(found: dict[str, Any]) -> str:
    """What was measured, for people."""
    lines: list[str] = []
    options = found["options"]
    for objective in options["objectives"]:
        of = found[objective]
        heading = f"{objective}, batch {options['batch_size']}, {options['heads']} heads of 64"
        lines += [heading, *_systems(of["systems"]), "", "  where the time goes (cpu ms)"]
        parts = dict(of["parts_cpu_ms"])
        pairs = parts.pop("of which all pairs", None)
        total = sum(parts.values())
        lines += [f"    {n:<28}{ms:9.1f} {ms / total:6.0%}" for n, ms in parts.items()]
        if pairs is not None:
            lines.append(f"    {'all pairs, both ways':<28}{pairs:9.1f} {pairs / total:6.0%}")
        bound = of["floor"]
        least = bound["products_ms"] + bound["bytes_ms"]
        lines += [
            f"    {'together':<28}{total:9.1f}",
            f"  floor: {bound['gflop']:.1f} GFLOP at {bound['gflop_per_cpu_s']:.0f} GFLOP/cpu s = "
            f"{bound['products_ms']:.1f} ms, and {bound['mb']:.0f} MB at "
            f"{bound['gb_per_cpu_s']:.1f} GB/cpu s = {bound['bytes_ms']:.1f} ms; "
            f"the step is {total / least:.1f} times that",
            f"  gradients that leave the tape sparse: {_yes(of['sparse_off_the_tape'])}",
            "",
        ]
    if "large_table" in found:
        of = found["large_table"]
        dense = ", ".join(of["dense_of_its_size"]) or "none"
        lines += [
            f"a table of {of['rows']:,} rows (above {of['sparse_rows']:,} gradients stay sparse)",
            f"  operations of the project's step with a result of its size: {dense}",
            *_systems(of["systems"]),
        ]
    return "\n".join(lines) + "\n"


def _systems(systems: dict[str, dict[str, float]]) -> list[str]:
    lines = [f"  {'':<28}{'examples/s':>12}{'ms':>9}{'cpu ms':>9}{'time':>8}{'cpu':>7}"]
    for name, of in systems.items():
        lines.append(
            f"  {name:<28}{of['examples_per_s']:12,.0f}{of['wall_ms']:9.1f}{of['cpu_ms']:9.1f}"
            f"{of['wall_ratio']:8.2f}{of['cpu_ratio']:7.2f}"
        )
    return lines


def _yes(sparse: dict[str, bool]) -> str:
    return f"{sum(sparse.values())} of {len(sparse)} tables"
