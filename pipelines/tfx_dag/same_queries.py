"""Two versions on the same test queries, asked as a client asks.

The release gate compares a version with what an earlier one measured on its own queries, with lists
as long as an answer, which in a small corpus find everything. Here both versions are asked now, and
lists are as long as those of the evaluation. Nothing here imports TFX.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.stages.context import StageContext
from serving.bundle import loading
from serving.graph import names
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.errors import BundleError, UnsupportedEnvironment
from tfrs_twotower.evaluation.resampling import paired_randomisation

_QUERIES_AT_ONCE = 64
_SURELY = 0.05
Recalls = NDArray[np.float64]


def falls(context: StageContext, version_dir: Path, served_dir: Path) -> Iterator[str]:
    """Recalls that fell by more than `export.gate.max_recall_drop` allows, each as a sentence.

    A fall counts only if it is not chance: the queries' differences have p below 5 % in Fisher's
    paired randomisation test. A served version that cannot be asked is reported and not compared.

    Args:
        context: the run, with its preprocessed data.
        version_dir: directory of the new version.
        served_dir: directory of the version that is served.
    """
    limit = context.config.export.gate.max_recall_drop
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    queries = load_query_set(context.layout.preprocessed, "test", context.spec, corpus)
    queries = queries.spread(context.config.index.num_measured_queries)
    ks = [k for k in context.config.evaluate.ks if k < len(corpus)]
    if limit is None or not len(queries) or not ks:
        return
    new = recalls(version_dir, queries, corpus, ks)
    try:
        served = recalls(served_dir, queries, corpus, ks)
    except (BundleError, UnsupportedEnvironment) as cause:
        context.reporter.message(f"not compared on the same queries: {cause}")
        return
    for column, k in enumerate(ks):
        yield from _fall(new[:, column], served[:, column], k, limit)


def _fall(new: Recalls, served: Recalls, k: int, limit: float) -> Iterator[str]:
    before, now = float(served.mean()), float(new.mean())
    p = float(paired_randomisation((new - served)[:, None])[0])
    if now < before * (1.0 - limit) and p < _SURELY:
        yield (
            f"recall@{k} is {now:.4f} on {len(new):,} test queries, {1.0 - now / before:.1%} less "
            f"than the {before:.4f} that the served version has on the same queries (p {p:.2g}; "
            f"allowed {limit:.1%}, export.gate.max_recall_drop)"
        )


def recalls(
    version_dir: Path, queries: QuerySet, corpus: Corpus, ks: Sequence[int]
) -> NDArray[np.float64]:
    """Recall of every query, `[num_queries, num_ks]`, by the answers of a version.

    Inputs that the version does not take are not sent, and those that it takes beside are missing:
    a served version may be of an earlier feature spec.

    Raises:
        BundleError: the version cannot be loaded or asked.
        UnsupportedEnvironment: it needs operations that are not installed.
    """
    model = loading.load_bundle(version_dir)
    taken = model.inputs(names.SERVING_DEFAULT)
    found = np.zeros((len(queries), len(ks)))
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        places = range(start, min(start + _QUERIES_AT_ONCE, len(queries)))
        inputs = {
            name: values[places.start : places.stop]
            for name, values in queries.inputs.items()
            if name in taken
        }
        seen = [corpus.ids[queries.seen[query]].tolist() for query in places]
        inputs[names.EXCLUDE_IDS] = loading.excluded(seen)
        answers = loading.answered_rows(model.call(names.SERVING_DEFAULT, inputs), corpus)
        for query, rows in zip(places, answers, strict=True):
            relevant = queries.truth.relevant[query]
            found[query] = [np.isin(relevant, rows[:k]).mean() for k in ks]
    return found
