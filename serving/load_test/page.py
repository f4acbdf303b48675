"""A load test as one self-contained HTML page."""

from html import escape

import numpy as np

from serving.load_test.running import LoadTest

_BARS = 48
_WIDTH, _HEIGHT = 720, 220
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:48rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2rem 1.2rem .2rem 0;text-align:left}"
    "td:last-child{text-align:right;font-variant-numeric:tabular-nums}"
    "svg{width:100%;height:auto}rect{fill:#4a6fa5}text{font-size:12px;fill:#555}"
    "line{stroke:#b3541e;stroke-dasharray:4 3}"
)


def figures(test: LoadTest) -> list[tuple[str, str]]:
    """What is shown of a load test: names and values with units."""
    return [
        ("answers", f"{test.num_answers:,}"),
        ("errors", f"{test.num_errors:,}"),
        ("requests a second", f"{test.requests_per_s:,.1f}"),
        ("queries a second", f"{test.queries_per_s:,.1f}"),
        ("p50", f"{test.p50_ms:.2f} ms"),
        ("p95", f"{test.p95_ms:.2f} ms"),
        ("p99", f"{test.p99_ms:.2f} ms"),
        ("slowest", f"{test.worst_ms:.2f} ms"),
    ]


def load_test_page(test: LoadTest) -> str:
    """The page."""
    about = (
        f"{test.signature}, {test.users} users, batches of {test.batch_size}, {test.seconds:.0f} s"
    )
    errors = [(name, f"{count:,}") for name, count in sorted(test.errors.items())]
    failed = f"<h2>Errors</h2>{_table(errors)}" if errors else ""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Load test of {escape(test.target)}</title>
<style>{_STYLE}</style>
<h1>{escape(test.target)}</h1>
<p>{escape(about)}. The users share this machine's processor with each other, and with the server
if it runs here.</p>
{_table(figures(test))}
<h2>Latency of answers</h2>
{_histogram(test)}
<p>The axis is logarithmic; dashed lines are the percentiles of the table.</p>
{failed}
</html>
"""


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows)
    return f"<table>{cells}</table>"


def _histogram(test: LoadTest) -> str:
    """Counts over a logarithmic axis, from the fastest to the slowest answer."""
    times = np.maximum(test.milliseconds, 1e-3)
    edges = np.geomspace(times.min(), times.max() * 1.001, _BARS + 1)
    counts, _ = np.histogram(times, edges)
    wide, high = _WIDTH / _BARS, _HEIGHT - 20
    bars = "".join(
        f'<rect x="{at * wide:.1f}" y="{high * (1 - count / counts.max()):.1f}" '
        f'width="{wide - 1:.1f}" height="{high * count / counts.max():.1f}">'
        f"<title>{edges[at]:.2f} to {edges[at + 1]:.2f} ms: {count}</title></rect>"
        for at, count in enumerate(counts)
    )
    labels = "".join(
        f'<text x="{at * wide:.1f}" y="{_HEIGHT - 4}">{edges[at]:.3g} ms</text>'
        for at in range(0, _BARS, _BARS // 6)
    )
    span = np.log(edges[-1] / edges[0])
    marks = ""
    for number, (name, value) in enumerate(
        (("p50", test.p50_ms), ("p95", test.p95_ms), ("p99", test.p99_ms))
    ):
        at = _WIDTH * np.log(max(value, edges[0]) / edges[0]) / span
        marks += (
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{high}"/>'
            f'<text x="{min(at + 3, _WIDTH - 25):.1f}" y="{12 + 14 * number}">{name}</text>'
        )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}">{bars}{labels}{marks}</svg>'
