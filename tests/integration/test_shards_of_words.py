"""Shards of an index of words alone, from the export to a refresh."""

import csv

import numpy as np
import pytest

from pipelines.progress import SilentReporter
from pipelines.stages import build_index, embed, export, refresh
from serving.bundle.loading import load_bundle
from serving.bundle.refresh_files import RefreshFiles
from serving.bundle.versions import find_shards, rows_of_shards
from tests.fixtures.tiny import write_tiny_tables
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.data.loading import joined_texts, load_corpus

pytestmark = [pytest.mark.integration, pytest.mark.slow]  # four bundle versions
K, NUM_SHARDS = 10, 2


def words_of(shards):
    """The postings of each shard, as a refresh reads them."""
    files = [RefreshFiles(shard.directory) for shard in shards]
    return [own.lexical(len(own.corpus())).postings for own in files]


def test_merged_lists_are_equal_and_a_refresh_counts_all_words(tmp_path):
    sections = {"k": K, "allowed_batch_sizes": [1], "shards": NUM_SHARDS}
    context = tiny_context(tmp_path / "run", index={"kind": "lexical", "k": K}, export=sections)
    write_tiny_model(context)
    for stage in (embed, build_index, export):
        stage.run(context)
    bundle = context.layout.bundle / "tiny"
    shards = [load_bundle(path) for path in find_shards(bundle)]
    details = shards[0].manifest.details
    against = details["against_unsharded"]
    assert against["equal_lists"] == against["queries"] > 0
    assert details["measures"][f"overlap@{K}"] == 1.0

    write_tiny_tables(tmp_path)
    with (tmp_path / "tiny" / "items.csv").open(encoding="utf-8") as stream:
        (row, *_) = csv.DictReader(stream)
    given = tmp_path / "new.csv"
    with given.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(row))
        writer.writeheader()
        writer.writerow({**row, "item": "item_99", "title": "Zebras", "description": "zebras"})
    refresh.run(bundle, given, None, replace=False, reporter=SilentReporter())
    shards = [load_bundle(path) for path in find_shards(bundle)]
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    texts = dict(
        zip(corpus.ids, joined_texts(corpus.raw, context.spec.candidate.features), strict=True)
    )
    texts["item_99"] = "Zebras zebras"
    ids = sorted(texts)
    whole = build_postings([texts[id_] for id_ in ids], k1=1.2, b=0.75)
    for own, rows in zip(words_of(shards), rows_of_shards(ids, NUM_SHARDS), strict=True):
        for word in whole.words[:: len(whole.words) // 20]:
            expected = whole.scores(whole.terms_of([word]))[rows]
            np.testing.assert_allclose(own.scores(own.terms_of([word])), expected, rtol=1e-5)
