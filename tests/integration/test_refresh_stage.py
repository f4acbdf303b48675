"""Refreshing and sharding what the export stage wrote, from tables to answers."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pipelines.progress import SilentReporter
from pipelines.stages import export, refresh
from pipelines.stages.releases import read_release, releases_of_bundle
from serving.bundle.history import read_history
from serving.bundle.integrity import write_checksums
from serving.bundle.loading import load_bundle
from serving.bundle.measures import model_bytes
from serving.bundle.refresh_files import RefreshFiles
from serving.bundle.versions import find_shards, list_versions, merge_lists, rows_of_shards
from serving.graph.release import content_hashes
from serving.refresh.undone import settle
from tests.fixtures.asking import answers
from tests.fixtures.recorder import Recorder
from tests.fixtures.tiny import write_tiny_tables
from tests.fixtures.tiny_model import tiny_context
from tests.fixtures.tiny_pre_ranker import WITH_BM25
from tests.integration.conftest import CASCADE_EXPORT
from tfrs_twotower.artifacts import Lineage, read_manifest
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.config import BundleConfig
from tfrs_twotower.data.loading import joined_texts, load_corpus, load_query_set
from tfrs_twotower.errors import BundleError, ConfigError, CorruptArtifact, DataError
from tfrs_twotower.towers.pre_ranker import load_pre_ranker

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def context(cascade_context):
    return cascade_context


@pytest.fixture(scope="module")
def bundle(context, tmp_path_factory):
    """A copy of the exported bundle, to publish into."""
    copied = tmp_path_factory.mktemp("refresh") / "tiny"
    return shutil.copytree(context.layout.bundle / "tiny", copied)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The candidates table that the run's corpus was made from."""
    root = tmp_path_factory.mktemp("tables")
    write_tiny_tables(root)
    with (root / "tiny" / "items.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def queries(context):
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    found = load_query_set(context.layout.preprocessed, "test", context.spec, corpus)
    return found.inputs


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_an_export_is_measured(context):
    (version,) = list_versions(context.layout.bundle / "tiny")
    details = read_manifest(context.layout.bundle / "tiny" / str(version), "bundle").details
    measures, memory = details["measures"], details["memory"]
    names = ("recall", "overlap", "perturbed_overlap", "coverage", "retrieval_coverage")
    assert set(measures) == {f"{name}@10" for name in names}
    assert measures["overlap@10"] == 1.0
    assert 0.0 < measures["recall@10"] <= 1.0
    size = model_bytes(context.layout.bundle / "tiny" / str(version))
    assert memory == {"version_bytes": round(1.2 * size), "swap_bytes": round(1.2 * 2 * size)}
    assert size > 0


def test_candidates_come_change_and_go(bundle, rows, queries, tmp_path):
    new = {**rows[0], "item": "item_99", "topics": "jazz"}
    dearer = {**rows[1], "price": "7.5"}
    without_price = {**rows[2], "price": "dear"}
    # Every other row of the run's own table is what it was, and is not embedded again.
    table = write(tmp_path / "new.csv", [rows[0], dearer, without_price, rows[3], *rows[6:], new])
    gone = tmp_path / "gone.txt"
    gone.write_text(" item_04 \r\n\r\nitem_05\runknown", encoding="utf-16")
    lines = Recorder()
    (found,) = refresh.run(bundle, table, gone, replace=False, reporter=lines)
    changes = found.changes
    assert (changes.num_added, changes.num_changed, changes.num_withdrawn) == (1, 2, 2)
    assert "1 of 36 records are bad in one cell: " in lines.messages[0]
    assert "column 'price': not a number (found 'dear'); it counts as missing" in lines.messages[0]
    assert lines.messages[2].endswith("gone.txt: 1 of 3 ids are not in the corpus: 'unknown'")
    assert lines.messages[-2] == "tiny: 39 candidates, 1 added, 2 changed, 2 gone"
    wrote = f"wrote {found.written.directory}: overlap@10 1.0000 (worst tenth 1.0000), perturbed_o"
    assert wrote in lines.messages[-1]
    loaded = load_bundle(bundle)
    assert loaded.titles()["item_99"] == rows[0]["title"]
    size = len(queries["user_id"])
    exclude = [[f"item_{number:02d}".encode() for number in range(6, 40)]] * size
    ids = answers(loaded, "serving_default", queries, exclude)["candidate_ids"]
    assert {name for name in ids.ravel() if name} == {
        b"item_00", b"item_01", b"item_02", b"item_03", b"item_99"
    }  # fmt: skip
    allow = [[b"topics=jazz"]] * size
    jazz = {row["item"] for row in (*rows[:4], new) if "jazz" in row["topics"].split("|")}
    ids = answers(loaded, "serving_default", queries, exclude, allow)["candidate_ids"]
    assert {name.decode() for name in ids.ravel() if name} == jazz


def test_the_same_files_again_publish_nothing(bundle, rows, tmp_path):
    before = list_versions(bundle)
    table = write(tmp_path / "again.csv", [rows[0], {**rows[1], "price": "7.5"}])
    gone, lines = tmp_path / "gone.txt", Recorder()
    gone.write_text("item_04\nitem_05\n")
    (found,) = refresh.run(bundle, table, gone, replace=False, reporter=lines)
    assert (found.written, found.served) == (None, before[-1])
    assert lines.messages[-1] == (
        f"nothing changed: no version was published, {before[-1]} is served as before"
    )
    assert lines.messages[1].endswith("2 of 2 ids are not in the corpus: 'item_04', 'item_05'")
    assert list_versions(bundle) == before


def test_a_corpus_that_lost_most_of_its_candidates_is_refused(bundle, rows, tmp_path):
    before = list_versions(bundle)
    table = write(tmp_path / "few.csv", rows[:12])

    def run(*overrides):
        refresh.run(
            bundle, table, None, replace=True, reporter=SilentReporter(), overrides=overrides
        )

    with pytest.raises(BundleError, match=r"12 candidates, 69\.2% fewer .*max_shrink=0\.7"):
        run()
    with pytest.raises(BundleError, match=r"\(allowed 50\.0%\)"):
        run("export.gate.max_shrink=0.5")
    with pytest.raises(ConfigError, match=r"--set export\.k=5: a refresh keeps the settings"):
        run("export.k=5")
    with pytest.raises(ConfigError, match=r"refresh, export\.gate.*max_shrnk"):
        run("export.gate.max_shrnk=0.5")
    assert list_versions(bundle) == before


def test_an_export_says_what_it_would_undo_of_refreshes(context, bundle):
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    release = read_release(context, corpus, Lineage("spec", "settings", {}))
    expected = (
        r"1 added candidates go \(such as 'item_99'\), 2 changed ones are as before \(such as "
        r"'item_01'\), 2 withdrawn ones come back \(such as 'item_04'\)\. Nothing was published"
    )
    with pytest.raises(BundleError, match=expected):
        settle(release, corpus, [bundle], "refuse")
    dropped = settle(release, corpus, [bundle], "drop")
    assert (dropped.release, len(dropped.undone)) == (release, 5)
    # The first export in shards takes the place of the bundle before.
    shards = [bundle.parent / f"tiny-shard-0000{shard}-of-00002" for shard in range(2)]
    with pytest.raises(BundleError, match=expected):
        settle(release, corpus, shards, "refuse")
    kept = settle(release, corpus, [bundle], "keep")
    refreshed = RefreshFiles(bundle / str(list_versions(bundle)[-1]))
    assert kept.corpus.ids.tolist() == refreshed.corpus().ids.tolist()
    np.testing.assert_array_equal(content_hashes(kept.corpus.raw), refreshed.hashes())
    np.testing.assert_allclose(kept.release.corpus.vectors, refreshed.vectors(), atol=1e-6)
    assert kept.release.refresh.since_export.exported == refreshed.since_export().exported
    texts = joined_texts(kept.corpus.raw, context.spec.candidate.features)
    expected_postings = build_postings(texts, k1=1.2, b=0.75)
    for pre_ranker in (kept.release.pre_ranker, load_pre_ranker(refreshed.pre_ranker_dir)):
        postings = pre_ranker.lexical.postings
        assert postings.terms == expected_postings.terms
        np.testing.assert_array_equal(postings.rows, expected_postings.rows)
        np.testing.assert_array_equal(postings.impacts, expected_postings.impacts)
    # What the tables have made of a candidate since is right: the dearer one is cheap now.
    raw = {**corpus.raw, "price": corpus.raw["price"].copy()}
    raw["price"][1] = 1.0
    hashes = content_hashes(raw)
    cheaper = replace(release, refresh=replace(release.refresh, hashes=hashes))
    undone = settle(cheaper, replace(corpus, raw=raw), [bundle], "drop").undone
    assert (undone.added, undone.changed) == (["item_99"], ["item_02"])
    # Candidates of other features cannot be compared, nor embedded by the new towers.
    fewer = replace(corpus, raw={"price": raw["price"]})
    with pytest.raises(BundleError, match=r"they have the features brand, .*, and this export has"):
        settle(cheaper, fewer, [bundle], "keep")


def test_an_export_when_what_was_refreshed_cannot_be_read(context, bundle, tmp_path):
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    release = read_release(context, corpus, Lineage("spec", "settings", {}))
    damaged = tmp_path / "tiny"
    shutil.copytree(bundle, damaged)
    (damaged / str(list_versions(bundle)[-1]) / "refresh" / "refreshed.parquet").unlink()
    with pytest.raises(CorruptArtifact, match=r"cannot be read .*refreshed\.parquet.*=drop"):
        settle(release, corpus, [damaged], "keep")
    assert settle(release, corpus, [damaged], "drop").release is release


def test_an_export_keeps_refreshed_candidates(context, bundle, tmp_path):
    for name in ("preprocessed", "model", "embeddings", "index", "pre_ranker"):
        (tmp_path / name).symlink_to(context.layout.root / name)
    published = tmp_path / "bundle" / "tiny"
    shutil.copytree(bundle, published)
    settings = {"pre_ranking": WITH_BM25, "export": {**CASCADE_EXPORT, "refreshed": "keep"}}
    export.run(tiny_context(tmp_path, **settings))
    loaded = load_bundle(published)
    assert "item_99" in loaded.titles()
    assert not {"item_04", "item_05"} & loaded.titles().keys()
    assert 0.0 < loaded.manifest.details["measures"]["recall@10"] <= 1.0
    (history,) = read_history(published)
    assert history.records[-1].made_by.command == "export"
    assert history.records[-1].made_by.arguments == "--keep-refreshed"
    before = list_versions(published)
    with pytest.raises(BundleError, match=r"would undo it: 1 added candidates go"):
        export.run(tiny_context(tmp_path, pre_ranking=WITH_BM25, export=CASCADE_EXPORT))
    assert list_versions(published) == before


def test_tables_that_cannot_be_used(bundle, tmp_path):
    before = list_versions(bundle)
    bad = tmp_path / "bad.csv"
    bad.write_text("item,brand,topics,price,title,description,released\n,a,b,1,t,d,1\n")
    with pytest.raises(DataError, match=r"1 of 1 records are bad: .*missing candidate id"):
        refresh.run(bundle, bad, None, replace=False, reporter=SilentReporter())
    as_text = "item,brand,topics,price,title,description,released\nx,b,\"['a', 'b']\",1,t,d,1\n"
    bad.write_text(as_text)
    with pytest.raises(DataError, match=r"column 'topics': 100% of the cells look like a list"):
        refresh.run(bundle, bad, None, replace=False, reporter=SilentReporter())
    with pytest.raises(DataError, match=r"no\.csv: there is no such file"):
        refresh.run(bundle, tmp_path / "no.csv", None, replace=False, reporter=SilentReporter())
    with pytest.raises(
        DataError, match=r"no.txt: cannot be read .* Expected text with a candidate id"
    ):
        refresh.run(bundle, None, tmp_path / "no.txt", replace=False, reporter=SilentReporter())
    assert list_versions(bundle) == before


def sharded(context):
    # The untrained pre-ranker sees 12 candidates of each shard, which changes recall by chance.
    exported = {**CASCADE_EXPORT, "shards": 2, "gate": {"max_recall_drop": None}}
    return tiny_context(context.layout.root, pre_ranking=WITH_BM25, export=exported)


def test_each_shard_is_made_from_its_own_candidates(context):
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    whole = read_release(sharded(context), corpus, Lineage("spec", "settings", {}))
    found = releases_of_bundle(whole, BundleConfig(name="tiny"), corpus)
    for release, own in zip(found, rows_of_shards(whole.corpus.ids, 2), strict=True):
        assert release.corpus.ids.tolist() == whole.corpus.ids[own].tolist()
        np.testing.assert_array_equal(release.corpus.vectors, whole.corpus.vectors[own])
        np.testing.assert_array_equal(
            release.pre_ranker.members[1].candidate_heads,
            whole.pre_ranker.members[1].candidate_heads.numpy()[own],
        )
        probe = release.refresh.probe
        for name, values in probe.raw.items():
            np.testing.assert_array_equal(values, corpus.raw[name][own[probe.rows]])


@pytest.mark.slow  # exports two more bundles; that shards answer alike is a unit test
def test_shards_answer_like_one_bundle(context, queries):
    manifest = export.run(sharded(context))
    names = ["tiny-shard-00000-of-00002", "tiny-shard-00001-of-00002"]
    assert sorted(manifest.details["versions"]) == names
    assert len(set(manifest.details["versions"].values())) == 1
    shards = [load_bundle(path) for path in find_shards(context.layout.bundle / names[0])]
    assert sum(shard.manifest.counts["candidates"] for shard in shards) == 40
    size = len(queries["user_id"])
    lists = {"exclude": [[b"item_01", b"item_30"]] * size, "allow": [[b"topics=soul"]] * size}
    whole = load_bundle(context.layout.bundle / "tiny")
    expected = answers(whole, "candidate_generation", queries, **lists)
    found = [answers(shard, "candidate_generation", queries, **lists) for shard in shards]
    ids, scores = merge_lists(
        [one["candidate_ids"] for one in found], [one["scores"] for one in found], 10
    )
    np.testing.assert_array_equal(ids, expected["candidate_ids"])
    np.testing.assert_allclose(scores, expected["scores"], atol=1e-6)
    assert len({name for one in found for name in one["model_version"]}) == 1
    measured, other = (shard.manifest.details for shard in shards)
    assert measured["measures"] == other["measures"]
    assert measured["measures"]["overlap@10"] == 1.0
    against = measured["against_unsharded"]
    whole_measures = whole.manifest.details["measures"]
    assert against["unsharded_recall"] == whole_measures["recall@10"]
    assert 0 <= against["equal_lists"] <= against["queries"]


def test_a_version_that_lost_recall_is_refused_and_gone(context):
    bundle = context.layout.bundle / "tiny"
    newest = bundle / str(list_versions(bundle)[-1]) / "manifest.json"
    text = newest.read_text()
    manifest = json.loads(text)
    manifest["details"]["measures"]["recall@10"] = 2.0
    newest.write_text(json.dumps(manifest))
    write_checksums(newest.parent)
    before = sorted(path.name for path in bundle.iterdir())
    with pytest.raises(BundleError, match=r"recall@10 is .* of version .*max_recall_drop=0\.\d+"):
        export.run(tiny_context(context.layout.root, export=CASCADE_EXPORT))
    assert sorted(path.name for path in bundle.iterdir()) == before
    assert (context.layout.bundle / "manifest.json").exists()
    newest.write_text(text)
    write_checksums(newest.parent)
