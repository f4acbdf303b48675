"""The queries that indexes and bundles are measured on: queries that the towers have not learned.

With `training.refit` the final towers have learned the validation queries, so that everything which
is measured with them is measured on test queries, without their labels.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.artifacts import Layout, Manifest, layout, read_manifest
from tfrs_twotower.artifacts.manifest import rerun_hint
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import load_query_set, query_order
from tfrs_twotower.data.perturbed_queries import perturbed_inputs
from tfrs_twotower.data.query_set import QuerySet, spread_places
from tfrs_twotower.data.raw_inputs import raw_signature
from tfrs_twotower.data.stored_embeddings import (
    read_candidate_ids,
    read_query_embeddings,
)
from tfrs_twotower.errors import StaleArtifact
from tfrs_twotower.index.sweep import MeasuredQueries
from tfrs_twotower.ranking import FloatArray
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.embedding import BatchEmbedder
from tfrs_twotower.towers.storage import load_towers

Split = Literal["validation", "test"]
MEASURED_SPLIT = "measured_split"
"""Key in the details of `embeddings/manifest.json`: `validation`, `test` or null."""
LEARNED = "learned"
"""Key beside it: whether the towers have learned these queries, for want of others."""
_MOST_PERTURBED = 2000
_BATCH_SIZE = 512


def split_to_measure(preprocessed: Manifest, model: Manifest) -> dict[str, Any]:
    """Chooses the split whose queries are measured on, for the details of the embeddings.

    Args:
        preprocessed: its counts say which splits have queries.
        model: its details say whether the towers have learned the validation window.
    """
    refitted = bool(model.details.get("refitted", False))
    order: tuple[Split, ...] = ("test", "validation") if refitted else ("validation", "test")
    filled = [split for split in order if preprocessed.counts.get(f"{split}_queries", 0)]
    split = filled[0] if filled else None
    learned = refitted and split == "validation"
    return {"refitted": refitted, MEASURED_SPLIT: split, LEARNED: learned}


def write_perturbed(
    path: Path,
    queries: QuerySet,
    corpus: Corpus,
    spec: FeatureSpec,
    model_dir: Path,
    *,
    width: int | None = None,
) -> None:
    """Embeds perturbed queries and writes them like the real ones.

    A perturbed query without a usable vector, such as one whose features are all unknown, is left
    out.

    Args:
        path: the Parquet file.
        queries: real queries, with raw features, of which some are taken.
        corpus: its ids replace those of histories.
        spec: the feature spec.
        model_dir: the model that embeds.
        width: number of first entries of each vector that are kept; by default all.
    """
    some = queries.spread(_MOST_PERTURBED)
    raw = perturbed_inputs(some.inputs, spec.query.features, corpus.ids)
    tower = load_towers(model_dir, width=width).query
    embedder = BatchEmbedder(tower, raw_signature(spec.query.features))
    parts = []
    for start in range(0, len(some), _BATCH_SIZE):
        part = slice(start, start + _BATCH_SIZE)
        embedded = embedder({name: values[part] for name, values in raw.items()})
        parts.append(embedded[~embedder.unusable(embedded)])
    vectors = np.concatenate(parts)
    ids = [f"{number:06d}" for number in range(len(vectors))]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    pq.write_table(pa.table({"query_id": pa.array(ids, pa.string()), "embedding": column}), path)


def write_perturbed_of_run(
    run: Layout, embeddings: Path, spec: FeatureSpec, split: Split, *, width: int | None = None
) -> None:
    """Does so for the queries of a split, into a directory with the candidates' embeddings."""
    corpus = read_candidate_ids(embeddings)
    queries = load_spread(run.preprocessed, split, spec, corpus, _MOST_PERTURBED)
    path = embeddings / layout.PERTURBED_EMBEDDINGS
    write_perturbed(path, queries, corpus, spec, run.model, width=width)


def load_spread(
    preprocessed: Path, split: Split, spec: FeatureSpec, corpus: Corpus, most: int
) -> QuerySet:
    """At most so many queries of a split, evenly spaced over the order of their ids."""
    order = query_order(preprocessed, split)
    places = spread_places(len(order), most)
    return load_query_set(preprocessed, split, spec, corpus, order[places])


def chosen_split(run: Layout) -> tuple[Split | None, bool]:
    """The split that is measured on, None if there are no queries, and whether it was learned.

    Raises:
        StaleArtifact: the embeddings are those of an earlier version of the package.
    """
    details = read_manifest(run.embeddings, "embeddings").details
    if MEASURED_SPLIT not in details:
        raise StaleArtifact(
            f"{run.embeddings}: does not say which queries are measured on, so an earlier version "
            f"of the package wrote it. {rerun_hint('embeddings')}"
        )
    return details[MEASURED_SPLIT], bool(details[LEARNED])


def read_measured(run: Layout, limit: int) -> MeasuredQueries:
    """Reads the embeddings that an index is measured on; empty without evaluated queries.

    Args:
        run: where the artifacts are; `embeddings` is finished.
        limit: largest number of each kind.

    Raises:
        StaleArtifact: see `chosen_split`.
    """
    split, _ = chosen_split(run)
    if split is None:
        return MeasuredQueries.of(read_query_embeddings(run.embeddings, "test").vectors)
    real = read_query_embeddings(run.embeddings, split).vectors
    perturbed: FloatArray = read_query_embeddings(run.embeddings, "perturbed").vectors
    return MeasuredQueries.of(real, perturbed, limit)
