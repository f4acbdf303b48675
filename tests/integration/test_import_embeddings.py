"""`twotower import-embeddings`: from files of vectors to an index, a report, a served bundle."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving import Client, load_bundle
from serving.bundle.versions import list_versions
from serving.server.local_server import ServerOptions, running
from serving.server.models import from_directory
from tests.fixtures.strangers import normal
from tests.reference.metrics import ndcg, recall
from tests.reference.search import search
from tests.unit.pipelines.cli.command import twotower
from tfrs_twotower.artifacts import read_manifest, verify_files
from tfrs_twotower.errors import EndpointError
from tfrs_twotower.index.quality import read_quality
from tfrs_twotower.index.storage import load_index

pytestmark = [pytest.mark.local_server, pytest.mark.integration]
DIM, NUM_CANDIDATES, NUM_QUERIES = 6, 80, 30
CANDIDATES = [f"c{number:02d}" for number in range(NUM_CANDIDATES)]
QUERIES = [f"{number:03d}" for number in range(NUM_QUERIES)]
VECTORS, ASKED = normal(0, NUM_CANDIDATES, DIM), normal(1, NUM_QUERIES, DIM)
# Query 007 is not judged; one pair is judged as not relevant.
JUDGED = {
    QUERIES[query]: {CANDIDATES[(7 * query + step) % 80]: 1.0 + step for step in range(3)}
    for query in range(NUM_QUERIES)
    if query != 7
}


def write_vectors(path, ids, vectors, *, fixed=False, **columns):
    order = np.random.default_rng(2).permutation(len(ids))
    flat = pa.array(vectors[order].ravel())
    lists = (
        pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        if fixed
        else pa.array(list(vectors[order]), pa.list_(pa.float32()))
    )
    more = {name: [values[row] for row in order] for name, values in columns.items()}
    pq.write_table(pa.table({"id": [ids[row] for row in order], "embedding": lists, **more}), path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("vectors")
    titles = [f"Title {name}" if row else None for row, name in enumerate(CANDIDATES)]
    lines = ["query_id,gain,candidate_id", f"{QUERIES[3]},0,{CANDIDATES[0]}"]
    lines += [f"{q},{gain},{c}" for q, pairs in JUDGED.items() for c, gain in pairs.items()]
    (root / "judged.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        "--candidates": write_vectors(root / "c.parquet", CANDIDATES, VECTORS, title=titles),
        "--queries": write_vectors(root / "q.parquet", QUERIES, ASKED, fixed=True),
        "--judgements": root / "judged.csv",
    }


@pytest.fixture
def call(monkeypatch, capsys):
    return lambda *arguments: twotower(monkeypatch, capsys, *arguments)


def options(files, workdir, *names):
    chosen = {name: files[name] for name in names or files}
    chosen |= {"--workdir": workdir, "--name": "shop"}
    return [part for pair in chosen.items() for part in pair]


class NothingCaptured:
    """Stands for `capsys` in a fixture of the module."""

    def readouterr(self):
        return SimpleNamespace(out="", err="")


@pytest.fixture(scope="module")
def imported(files, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "work"
    arguments = [*options(files, workdir), "--set", "export.k=9", "--set", "evaluate.ks=[5, 20]"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        result = twotower(monkeypatch, NothingCaptured(), "import-embeddings", *arguments)
    assert result.code == 0
    return workdir


def expected_list(query, k, excluded=()):
    return search(ASKED[query], VECTORS, CANDIDATES, list(excluded), k)


def test_the_index_is_measured_and_holds_the_vectors(imported):
    index = load_index(imported / "index")
    assert (index.kind, index.corpus.ids.tolist()) == ("brute_force", CANDIDATES)
    np.testing.assert_array_equal(index.vectors, VECTORS)
    assert index.corpus.titles.tolist() == ["", *(f"Title {name}" for name in CANDIDATES[1:])]
    quality = read_quality(imported / "index")
    assert (quality.overlap, quality.num_queries) == (1.0, NUM_QUERIES)
    for kind in ("index", "report"):
        verify_files(imported / kind, read_manifest(imported / kind, kind))


def test_the_evaluation_is_that_of_the_oracle(imported):
    document = json.loads((imported / "report" / "evaluation.json").read_text())
    assert document["dataset"] == "shop"
    assert list(document["systems"]) == ["retrieval", "cascade"]
    metrics = document["systems"]["retrieval"]["metrics"]
    judged = [query for query in range(NUM_QUERIES) if QUERIES[query] in JUDGED]
    for name, k, oracle in (("recall", 5, recall), ("recall", 20, recall), ("ndcg", 20, ndcg)):
        values = [oracle(expected_list(query, k)[0], JUDGED[QUERIES[query]], k) for query in judged]
        figure = metrics[f"{name}@{k}"]
        assert figure["mean"] == pytest.approx(np.mean(values), abs=1e-9)
        assert figure["queries"] == len(judged)
    assert document["funnel"]["ann_overlap@80"] == 1.0
    assert document["protocol"]["empty_queries"] == {"test": 1}
    reasons = document["protocol"]["left_out"]
    assert reasons["popularity"] == reasons["ease"] == "there are no interactions to learn from"
    assert reasons["bm25"] == "the two sides do not both have text"
    assert (imported / "report" / "index.html").stat().st_size > 10_000


def test_the_bundle_is_measured_checked_and_answers(imported, call):
    bundle = imported / "bundle" / "shop"
    assert call("preflight", bundle).code == 0
    measures = load_bundle(bundle).manifest.details["measures"]
    judged = [query for query in range(NUM_QUERIES) if QUERIES[query] in JUDGED]
    shares = [
        len(JUDGED[QUERIES[query]].keys() & set(expected_list(query, 9)[0])) / 3 for query in judged
    ]
    assert measures["recall@9"] == pytest.approx(np.mean(shares), abs=1e-6)
    vector = ",".join(map(str, ASKED[4].tolist()))
    answer = json.loads(
        call("query", bundle, f"--set=embedding={vector}", "--exclude", CANDIDATES[1], "--json").out
    )
    ids, scores = expected_list(4, 9, [CANDIDATES[1]])
    assert answer["candidate_ids"] == ids
    np.testing.assert_allclose(answer["scores"], scores, atol=1e-6)
    for text, found in (("1,2", "1,2"), ("a,b,c,d,e,f", "a,b")):
        refused = call("query", bundle, "--set", f"embedding={text}")
        assert refused.code == 1
        assert f"found '{found}" in refused.err
        assert "expected 6 numbers separated by ','" in refused.err
    served = ServerOptions(from_directory(bundle), grpc_port=0, rest_port=0, batching=True)
    with (
        running(served) as server,
        Client(f"http://127.0.0.1:{server.rest_port}/shop", timeout_s=60) as client,
    ):
        found = client.recommend({"embedding": ASKED[:5]}, exclude_ids=[CANDIDATES[:40]] * 5)
        with pytest.raises(EndpointError, match=r"found a list of 5\. Expected 6 numbers for each"):
            client.recommend({"embedding": ASKED[:, :5]})
    for query, one in enumerate(found):
        ids, scores = expected_list(query, 9, CANDIDATES[:40])
        assert one.candidate_ids == ids
        np.testing.assert_allclose(one.scores, scores, atol=1e-6)


def test_candidates_alone_are_enough(files, tmp_path, call):
    arguments = options(files, tmp_path, "--candidates")
    result = call("import-embeddings", *arguments)
    assert result.code == 0
    assert "there are no queries to measure an index on: search is exact" in result.err
    assert "not measured: there are no judged queries" in result.err
    assert not (tmp_path / "report").exists()
    assert result.out == ""
    # Again: a second version of the same identity.
    assert call("import-embeddings", *arguments).code == 0
    first, second = list_versions(tmp_path / "bundle" / "shop")
    versions = [
        read_manifest(tmp_path / "bundle" / "shop" / str(number), "bundle").details["model_version"]
        for number in (first, second)
    ]
    assert versions[0].partition("-")[2] == versions[1].partition("-")[2]
    assert call("rollback", tmp_path / "bundle" / "shop").code == 0


def test_an_approximate_index_and_what_is_refused_of_it(files, tmp_path, call):
    arguments = options(files, tmp_path, "--candidates", "--queries")
    ivf = ["--set", "index.kind=ivf", "--set", "index.k=10"]
    assert call("import-embeddings", *arguments, *ivf, "--set", "index.target_overlap=.5").code == 0
    assert load_index(tmp_path / "index").kind == "ivf"
    before = read_manifest(tmp_path / "index", "index")
    missed = call(
        *("import-embeddings", *arguments, *ivf, "--set", "index.num_leaves_to_search=1"),
        *("--set", "index.num_leaves=40", "--set", "index.target_overlap=1"),
    )
    assert missed.code == 1
    assert "the target is 1.0" in missed.err
    assert read_manifest(tmp_path / "index", "index") == before
    assert len(list_versions(tmp_path / "bundle" / "shop")) == 1
    alone = options(files, tmp_path, "--candidates")
    refused = call("import-embeddings", *alone, "--set", "index.kind=ivf")
    assert refused.code == 1
    assert "is measured on real queries, and there are none. Give --queries" in refused.err


def test_a_gate_that_refuses_leaves_the_earlier_import(files, imported, tmp_path, call):
    worse = write_vectors(tmp_path / "worse.parquet", CANDIDATES, -VECTORS)
    before = {kind: read_manifest(imported / kind, kind) for kind in ("index", "report")}
    versions = list_versions(imported / "bundle" / "shop")
    result = call(
        *("import-embeddings", *options({**files, "--candidates": worse}, imported)),
        *("--set", "export.k=9"),
    )
    assert result.code == 1
    assert "refused by the release gate: recall@9 is" in result.err
    assert "--set export.gate.max_recall_drop=0." in result.err
    assert {kind: read_manifest(imported / kind, kind) for kind in before} == before
    assert list_versions(imported / "bundle" / "shop") == versions


def test_arguments_that_do_not_go_together(files, tmp_path, call):
    alone = options(files, tmp_path / "new", "--candidates")
    result = call("import-embeddings", *alone, "--judgements", files["--judgements"])
    assert (result.code, "needs --queries" in result.err) == (2, True)
    for setting, message in (
        ("export.restricts=[colour]", r"export.restricts is set; vectors without features"),
        ("export.shards=2", "export.shards is set"),
        ("training.epochs=5", "unknown key 'training'"),
        ("export.k=0", "export.k: Input should be greater than 0"),
    ):
        result = call("import-embeddings", *alone, "--set", setting)
        assert result.code == 1
        assert message in result.err
    result = call("import-embeddings", *alone[:-1], "Shop/1")
    assert (result.code, "import-embeddings: name: " in result.err) == (1, True)
    assert not (tmp_path / "new").exists()
    (tmp_path / "run" / "preprocessed").mkdir(parents=True)
    result = call("import-embeddings", *options(files, tmp_path / "run", "--candidates"))
    assert (result.code, "holds a run (preprocessed/)" in result.err) == (2, True)
