"""The time span and the number of events of each split."""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from pipelines.transforms.cutoffs import AsDict

Window = tuple[int, int, int, int]
"""Events, positives, first and last second."""


class SummariseWindows(beam.PTransform):
    """`(split, window of one query)` to one dict `{split: window}`."""

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Adds up by split."""
        return parts | beam.CombinePerKey(merge_windows) | beam.CombineGlobally(AsDict())


def merge_windows(parts: Iterable[Window]) -> Window:
    """The window that spans all parts; of none, an empty one."""
    columns = list(zip(*(part for part in parts if part[0]), strict=True))
    if not columns:
        return 0, 0, 0, 0
    events, positives, firsts, lasts = columns
    return sum(events), sum(positives), min(firsts), max(lasts)


def training_end(windows: dict[int, Window], cutoff: int | None) -> int:
    """End of the training window, exclusive: the cut-off, or just after its last event."""
    if cutoff is not None:
        return cutoff
    return windows[0][3] + 1 if 0 in windows else 0


def window_times(windows: dict[int, Window], cutoffs: Any) -> dict[str, int]:
    """Start of train and the exclusive ends of the splits, epoch seconds."""
    times = {}
    if 0 in windows:
        times["train_start"] = windows[0][2]
        times["train_end"] = training_end(windows, cutoffs.validation_from if cutoffs else None)
    for split, key in ((1, "validation_end"), (2, "test_end")):
        if split in windows:
            times[key] = windows[split][3] + 1
    if cutoffs:
        times["validation_end"] = cutoffs.test_from
    return times
