from pathlib import Path

import pytest

from pipelines.stages import build_index
from tests.fixtures.tiny_model import tiny_context
from tfrs_twotower.config import IndexConfig
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.index.quality import check_vectors_only, resolve_kind


def fingerprint(**index):
    return build_index.config_fingerprint(tiny_context(Path("run"), index=index))


@pytest.mark.parametrize("kind", ["brute_force", "ivf", "auto"])
def test_settings_of_words_outdate_only_an_index_that_searches_them(kind):
    assert fingerprint(kind=kind) == fingerprint(kind=kind, lexical={"k1": 2.0})
    assert fingerprint(kind="hybrid") != fingerprint(kind="hybrid", lexical={"k1": 2.0})
    assert fingerprint(kind="hybrid") != fingerprint(kind="lexical")


def test_a_hybrid_searches_vectors_as_auto_does():
    for size in (1_000, 100_000):
        auto, hybrid = (IndexConfig(kind=kind, server="stock") for kind in ("auto", "hybrid"))
        assert resolve_kind(hybrid, size) == resolve_kind(auto, size)
    assert resolve_kind(IndexConfig(kind="lexical"), 100_000) == "brute_force"


@pytest.mark.parametrize("kind", ["lexical", "hybrid"])
def test_vectors_without_texts_are_not_searched_by_words(kind):
    with pytest.raises(ConfigError, match=f"somewhere: index.kind is {kind}, .* only vectors"):
        check_vectors_only(IndexConfig(kind=kind), "somewhere")
    check_vectors_only(IndexConfig(kind="ivf"), "somewhere")
