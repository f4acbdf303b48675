"""The exact answers of a version on this machine, which a live endpoint's are compared with."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2

from serving.bundle import loading, refresh_files
from serving.client import request_inputs
from serving.graph import names
from serving.graph.release import ReleaseSettings
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.perturbed_queries import perturbed_inputs
from tfrs_twotower.errors import BundleError
from tfrs_twotower.index.lexical import ExactTextLists
from tfrs_twotower.ranking.order import ExactLists, RowArray
from tfrs_twotower.towers.storage import load_spec_of

_QUERIES_AT_ONCE = 16


@dataclass(frozen=True)
class ExactAnswers:
    """Exact search by a version's own query tower over its own vectors."""

    bundle: loading.LoadedBundle
    files: refresh_files.RefreshFiles

    @classmethod
    def of(cls, version_dir: Path) -> "ExactAnswers":
        """Loads a version.

        Raises:
            BundleError: see `load_bundle`; also if the version has no vectors beside its model.
        """
        bundle = loading.load_bundle(version_dir)
        files = refresh_files.RefreshFiles(bundle.directory)
        if not files.exist():
            raise BundleError(
                f"{bundle.directory}: holds no {refresh_files.REFRESH}/, whose vectors the exact "
                "search needs: only `twotower export` writes one. Check a bundle that it wrote."
            )
        return cls(bundle, files)

    @cached_property
    def corpus(self) -> Corpus:
        """The candidates, with vectors."""
        return self.files.corpus()

    @cached_property
    def settings(self) -> ReleaseSettings:
        """How the version was exported."""
        return self.files.settings()

    @property
    def k(self) -> int:
        """Length of every list."""
        return int(self.bundle.manifest.counts["k"])

    @property
    def batch_size(self) -> int:
        """Number of queries to ask an endpoint for at a time."""
        return min(_QUERIES_AT_ONCE, max(self.settings.export.allowed_batch_sizes))

    def queries(
        self, columns: Mapping[str, list[Any]]
    ) -> tuple[request_inputs.Arrays, request_inputs.Arrays]:
        """Raw features of the given queries, and of as many perturbed ones."""
        inputs = {
            name: request_inputs.Input(
                types_pb2.DataType.Name(spec.dtype.as_datatype_enum),
                request_inputs.width_of(spec.shape),
            )
            for name, spec in self.bundle.inputs(names.QUERY_EMBEDDING).items()
        }
        raw = request_inputs.build_inputs(inputs, columns)
        features = load_spec_of(self.files.towers_dir)[0].query.features
        return raw, perturbed_inputs(raw, features, self.corpus.ids)

    @cached_property
    def _texts(self) -> ExactTextLists | None:
        lexical = self.files.lexical(len(self.corpus))
        return None if lexical is None else ExactTextLists(lexical, self.corpus.vectors)

    def overlaps(self, raw: request_inputs.Arrays, returned: RowArray) -> NDArray[np.float64]:
        """Overlap@k of rows `[num_queries, k]` with the exact lists of queries, `[num_queries]`."""
        embeddings = self.bundle.call(names.QUERY_EMBEDDING, raw)[names.EMBEDDING]
        if self._texts is not None:
            return self._texts.overlaps(embeddings, raw, returned)
        return ExactLists.of(embeddings, self.corpus.vectors, self.k).overlaps(returned)
