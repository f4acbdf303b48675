"""The ids that the validation window adds to vocabularies, which only a refit knows."""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.transforms import batches, sharded_output
from pipelines.transforms.vocabularies import Counted, Settings, added_up, value_vocabularies
from tfrs_twotower import specs

_WINDOWS = ("first", "second")


def id_vocabularies(spec: specs.FeatureSpec) -> dict[str, Settings]:
    """Those of `value_vocabularies` that hold the ids of queries or candidates."""
    names = {
        feature.vocabulary_name
        for feature in (*spec.query.features, *spec.candidate.features)
        if isinstance(feature, specs.IdFeature)
    }
    return {name: own for name, own in value_vocabularies(spec).items() if name in names}


class SelectFreshIds(beam.PTransform):
    """Turns counts of two windows, each as for `SelectValues`, into items of what the second adds.

    Ids are selected by their counts in both windows together, by the rules of the vocabulary. What
    the first window alone has selected is left out, and stays in the vocabulary whatever follows.

    Args:
        settings: of the vocabularies of ids; others are left out.
        prefix: directory of the output names.
    """

    def __init__(self, settings: dict[str, Settings], prefix: str) -> None:
        super().__init__()
        self._settings = settings
        self._prefix = prefix

    def expand(self, windows: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        """Adds up the counts, and selects the ids."""
        return (
            tuple(
                counted | name >> beam.FlatMap(_of_window, name, set(self._settings))
                for name, counted in zip(_WINDOWS, windows, strict=True)
            )
            | "Windows" >> beam.Flatten()
            | "Group" >> beam.GroupByKey()
            | "Added" >> beam.Map(_added, self._settings, self._prefix)
        )


def _of_window(counted: Counted, name: str, names: set[str]) -> Iterator[Counted]:
    vocabulary, part = counted
    if vocabulary in names:
        table = batches.unpacked([part])
        nothing = pa.array(np.zeros(table.num_rows, np.int64))
        columns = {"value": table["value"], **dict.fromkeys(_WINDOWS, nothing)}
        yield vocabulary, batches.packed(pa.table(columns | {name: table["count"]}))


def _added(
    group: tuple[str, Iterable[bytes]], settings: dict[str, Settings], prefix: str
) -> tuple[tuple[str, int], bytes]:
    vocabulary, parts = group
    min_count, max_size = settings[vocabulary]
    counts = added_up(batches.unpacked(parts))
    first = counts["first"]
    known, both = (
        sharded_output.most_frequent(table.filter(pc.greater_equal(count, min_count)), max_size)
        for count in (first, pc.add(first, counts["second"]))
        for table in [pa.table({"value": counts["value"], "count": count})]
    )
    is_known = pc.is_in(both["value"], value_set=batches.flat(known["value"]))
    return (f"{prefix}/{vocabulary}", 0), batches.packed(both.filter(pc.invert(is_known)))
