import numpy as np
import pytest

from tests.contracts.searcher_contract import unit_vectors
from tfrs_twotower.config import IndexConfig
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.index.build import build_index
from tfrs_twotower.index.quality import read_quality
from tfrs_twotower.index.storage import Index, load_index, save_index

IDS = ["a", "b", "é", "日本"]
TITLES = ["A", "", "E\n", "Nippon"]


def index_of(built):
    return Index.of(Corpus(np.array(IDS, object), np.array(TITLES, object)), built)


@pytest.mark.parametrize("kind", ["brute_force", "scann", "ivf"])
def test_round_trip(tmp_path, kind):
    if kind == "scann":
        pytest.importorskip("scann")
    vectors = unit_vectors(4, 6, 0)
    built = build_index(vectors, vectors, IndexConfig(kind=kind, k=2))
    save_index(tmp_path, index_of(built))
    built.quality.write(tmp_path)
    index = load_index(tmp_path)
    corpus = index.corpus
    assert (index.kind, corpus.ids.tolist(), corpus.titles.tolist()) == (kind, IDS, TITLES)
    np.testing.assert_array_equal(index.vectors, vectors)
    assert index.search().search(vectors, 1)[1].numpy().tolist() == [[0], [1], [2], [3]]
    assert read_quality(tmp_path) == built.quality


def test_eight_bits_stay_eight_bits(tmp_path):
    vectors = unit_vectors(4, 6, 0)
    config = IndexConfig(kind="brute_force", vectors="int8", k=2)
    save_index(tmp_path, index_of(build_index(vectors, vectors, config)))
    index = load_index(tmp_path)
    assert index.int8
    assert not index.search().is_exact
    assert index.exact_search().is_exact
    np.testing.assert_array_equal(index.vectors, vectors)


def test_what_is_not_there(tmp_path):
    with pytest.raises(MissingArtifact, match=r"index\.json: is missing. Run build-index"):
        load_index(tmp_path)
    with pytest.raises(MissingArtifact, match=r"quality\.json: is missing. Run build-index"):
        read_quality(tmp_path)


def test_what_is_something_else(tmp_path):
    (tmp_path / "index.json").write_text("[]")
    (tmp_path / "quality.json").write_text('{"kind": 1, "new": 2}')
    (tmp_path / "candidates.npz").write_bytes(b"PK")
    with pytest.raises(CorruptArtifact, match=r"cannot be read as an index.*Run build-index"):
        load_index(tmp_path)
    with pytest.raises(CorruptArtifact, match=r"quality\.json: cannot be read"):
        read_quality(tmp_path)


def test_an_index_of_other_vectors_or_of_another_order_is_refused():
    vectors = unit_vectors(3, 4, 0)
    built = build_index(vectors, vectors, IndexConfig(kind="brute_force"))
    assert np.array_equal(Index.of(Corpus.of(["a", "b", "c"], vectors), built).vectors, vectors)
    with pytest.raises(ValueError, match=r"not in their order; give `corpus\.vectors`"):
        Index.of(Corpus.of(["c", "b", "a"], vectors), built)
