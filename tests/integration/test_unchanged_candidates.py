"""With a frozen candidate tower, only new and changed candidates are embedded."""

import gzip

import numpy as np
import pyarrow.parquet as pq
import pytest
from tensorflow.core.example.example_pb2 import Example

from pipelines.stages import embed, unchanged_candidates
from pipelines.transforms import embedding, sharded_output
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tfrs_twotower.artifacts import commit, read_manifest
from tfrs_twotower.artifacts.writing import ManifestFields
from tfrs_twotower.data.stored_embeddings import read_candidate_embeddings

pytestmark = pytest.mark.integration


def finish_again(directory, **changes):
    """Finishes an artifact whose files or details a test has changed; it has a new fingerprint."""
    before = read_manifest(directory, directory.name)
    staging = directory.with_name("changed")
    directory.rename(staging)
    (staging / "manifest.json").unlink()
    fields = before.model_dump(include={*ManifestFields.__required_keys__, "details"})
    fields["parents"] = {
        kind: read_manifest(directory.with_name(kind), kind).fingerprint for kind in before.parents
    }
    commit(staging, directory, **{**fields, **changes})
    return before


def change_corpus(directory):
    """Changes the first candidate's title and adds a candidate; returns both ids."""
    path = sorted(directory.glob("corpus-*.tfrecord.gz"))[0]
    with gzip.open(path) as stream:
        records = [Example.FromString(one) for one in sharded_output.read_frames(stream)]
    changed = records[0]
    added = Example.FromString(records[1].SerializeToString())
    changed.features.feature["title"].bytes_list.value[:] = [b"another title"]
    added.features.feature["_candidate_id"].bytes_list.value[:] = [b"new"]
    added.features.feature["item_id"].bytes_list.value[:] = [b"new"]
    with gzip.open(path, "wb") as stream:
        for one in [*records, added]:
            stream.write(sharded_output.frame(one.SerializeToString(deterministic=True)))
    counts = dict(read_manifest(directory, "preprocessed").counts)
    finish_again(directory, counts={**counts, "candidates": counts["candidates"] + 1})
    return changed.features.feature["_candidate_id"].bytes_list.value[0].decode(), "new"


def vectors_of(context):
    corpus = read_candidate_embeddings(context.layout.embeddings)
    return dict(zip(corpus.ids.tolist(), corpus.vectors, strict=True))


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    daily = {"freeze_candidate_tower": True}
    context = tiny_context(
        tmp_path_factory.mktemp("run"), daily=daily, embed={"batch_size": 7, "num_shards": 3}
    )
    write_tiny_model(context)
    embed.run(context)
    return context


def test_only_new_and_changed_candidates_are_embedded(context, monkeypatch):
    layout, embedded = context.layout, []
    before = vectors_of(context)
    changed, new = change_corpus(layout.preprocessed)
    model = read_manifest(layout.model, "model")
    finish_again(
        layout.model,
        details={"went_on_from": model.fingerprint, "frozen_candidate_tower": True},
    )
    read = embedding._read_records
    monkeypatch.setattr(
        embedding,
        "_read_records",
        lambda path: (embedded.append((path, one)) or one for one in read(path)),
    )
    manifest = embed.run(context)
    ids = [
        Example.FromString(one).features.feature["_candidate_id"].bytes_list.value[0]
        for path, one in embedded
        if "corpus-" in path
    ]
    assert sorted(ids) == sorted([changed.encode(), b"new"])
    after = vectors_of(context)
    assert manifest.counts["candidates"] == len(before) + 1
    assert set(after) == {*before, new}
    for one, vector in before.items():
        assert np.array_equal(after[one], vector) == (one != changed), one
    for path in layout.embeddings.glob("candidates-*.parquet"):
        names = [one.encode() for one in pq.read_table(path)["candidate_id"].to_pylist()]
        assert names == sorted(names)
    assert not list(layout.embeddings.glob(".changed"))
    # In one pass over all, with the same tower, the new vectors are the same.
    monkeypatch.setattr(unchanged_candidates, "embeddings_before", lambda *_: None)
    embed.run(context)
    whole = vectors_of(context)
    for one, vector in whole.items():
        np.testing.assert_allclose(after[one], vector, atol=1e-6)


@pytest.mark.parametrize(
    "details",
    [
        {"went_on_from": "another", "frozen_candidate_tower": True},
        {"went_on_from": "{model}", "frozen_candidate_tower": False},
        {"went_on_from": "{model}", "frozen_candidate_tower": True, "wide": {"rank": 4}},
        {},
    ],
)
def test_vectors_of_another_tower_are_not_taken_over(context, details):
    made_by = read_manifest(context.layout.embeddings, "embeddings").parents["model"]
    model = read_manifest(context.layout.model, "model")
    filled = {key: made_by if value == "{model}" else value for key, value in details.items()}
    known = model.model_copy(update={"details": filled, "counts": {"other": 1}})
    found = unchanged_candidates.embeddings_before(context.layout.embeddings, known)
    assert found is None
    frozen = {"went_on_from": made_by, "frozen_candidate_tower": True}
    known = model.model_copy(update={"details": frozen, "counts": {"other": 1}})
    directory = context.layout.embeddings
    assert unchanged_candidates.embeddings_before(directory, known) == directory
