import ctypes.util
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.searcher_contract import unit_vectors
from tfrs_twotower.index import scann_search as scann_library
from tfrs_twotower.index.quality import SearchParameters
from tfrs_twotower.index.scann_search import ScannSearch, avx2_flag, library_of, load_scann
from tfrs_twotower.index.scann_training import TrainingParameters, train_scann
from tfrs_twotower.ranking.exact import mean_overlap

pytest.importorskip("scann")


@pytest.fixture
def flag():
    flag = avx2_flag(library_of(load_scann()))
    assert flag is not None, "this version of ScaNN has another switch, or none"
    before = flag.value
    yield flag
    flag.value = before


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Makes a processor of the given features."""

    def pretend(features):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nflags\t\t: {features}\nbugs\t\t:\n")
        monkeypatch.setattr(scann_library, "_PROCESSOR", path)
        load_scann.cache_clear()

    yield pretend
    load_scann.cache_clear()


@pytest.mark.parametrize(
    ("features", "expected"),
    [("fpu avx avx2 fma bmi2", True), ("fpu avx avx2", False), ("fpu avx", False), ("", False)],
)
def test_kernels_are_those_of_the_processor(flag, processor, features, expected):
    flag.value = False
    processor(features)
    load_scann()
    assert flag.value is expected


def test_a_machine_that_does_not_say_what_it_has(flag, processor, monkeypatch, tmp_path):
    flag.value = False
    processor("")
    monkeypatch.setattr(scann_library, "_PROCESSOR", tmp_path / "not_there")
    load_scann()
    assert flag.value is False


@pytest.mark.parametrize("leaves", [None, 20])
def test_both_kernels_find_the_same(flag, processor, leaves):
    if not scann_library._processor_features() >= {"avx2", "fma"}:
        pytest.skip("needs a processor with AVX2 and FMA")
    vectors, queries = unit_vectors(2000, 64, 0), tf.constant(unit_vectors(50, 64, 1))
    trained = train_scann(vectors, TrainingParameters(leaves, 0.2), 10)
    search = ScannSearch(vectors, trained, SearchParameters(10, leaves and 10, 100))
    found = {}
    for features in ("fpu avx", "fpu avx avx2 fma"):
        flag.value = False
        processor(features)
        found[features] = [answer.numpy() for answer in search.search(queries, 10)]
    (old_scores, old_rows), (scores, rows) = found.values()
    np.testing.assert_allclose(scores, old_scores, rtol=0, atol=1e-6)
    # Hashed scores may be a rounding apart, so that another candidate comes to be scored exactly.
    assert mean_overlap(rows, old_rows) > 0.995


def test_a_library_without_the_switch():
    assert avx2_flag(Path(str(ctypes.util.find_library("c")))) is None
    assert avx2_flag(Path("/nowhere/_scann_ops.so")) is None
