import pytest

from tests.unit.preflight.checking import check
from tfrs_twotower.errors import ConfigError

TEXT = {"name": "text", "kind": "text"}
SEARCH = {
    "interactions": {"path": "qrels.tsv", "query_id": "q", "candidate_id": "d"},
    "queries": {"path": "queries.jsonl", "id": "q", "split": "split"},
    "query": {"features": [TEXT]},
    "candidate": {"features": [TEXT]},
    "split": {"kind": "given"},
}


def test_defaults_fit():
    check({})
    check(SEARCH)


@pytest.mark.parametrize(
    ("spec_changes", "sections", "message"),
    [
        (
            {**SEARCH, "query": {"features": [{**TEXT, "encoder": "transformer"}]}},
            {"model": {"embedding_dim": 30}},
            r"num_heads is 4, which does not divide model\.embedding_dim 30 "
            r"\(query\.features\.text has encoder: transformer\)\. Set num_heads to one of 1, 2",
        ),
        (
            SEARCH,
            {"model": {"history_dropout": 0.5}},
            "history_dropout is 0.5.*not have a history",
        ),
        (
            {},
            {"model": {"token_dropout": 0.1}},
            "token_dropout is 0.1.*not have a text feature",
        ),
        (
            SEARCH,
            {"model": {"id_dropout": 0.1}},
            "id_dropout is 0.1.*not have an id or categor",
        ),
        (
            SEARCH,
            {"training": {"time_decay_half_life_days": 30}},
            r"half_life_days is 30\.0, but the spec 'toy' has no interactions\.timestamp",
        ),
        (
            {**SEARCH, "split": {"kind": "given", "validation": "train"}},
            {},
            "gives validation and train the same split value 'train'",
        ),
        (
            {},
            {"training": {"softmax": {"logq": "none", "logq_strength": 0.5}}},
            "logq_strength is 0.5, but logq is none",
        ),
        (
            {},
            {"evaluate": {"baselines": ["bm25"]}},
            r"has bm25, which needs a text feature on both sides.*query\.features and candidate",
        ),
        (
            {"candidate": {"features": [{"name": "item", "kind": "id"}, TEXT]}},
            {"evaluate": {"baselines": ["hybrid"]}},
            r"has hybrid, .* none in query\.features\. Remove hybrid",
        ),
        (
            SEARCH,
            {"evaluate": {"baselines": ["recent_popularity"]}},
            "recent_popularity, but the spec",
        ),
        (SEARCH, {"evaluate": {"baselines": ["ease"]}}, "splits by query"),
        ({}, {"evaluate": {"baselines": ["ease", "ease"]}}, "names ease twice"),
        ({}, {"index": {"k": 200}}, r"index\.k is 200, but bundles return export\.k 100"),
        (
            {},
            {"index": {"kind": "brute_force", "num_leaves": 10}},
            "index.num_leaves is 10, but index.kind is brute_force",
        ),
        (
            {},
            {"index": {"num_leaves": 10, "num_leaves_to_search": 20}},
            "num_leaves_to_search is 20, more than index.num_leaves 10",
        ),
        (
            {},
            {"index": {"num_reordering_candidates": 50}},
            "num_reordering_candidates is 50, less than index.k 100",
        ),
        (
            {},
            {"export": {"allowed_batch_sizes": [8, 1, 8]}},
            r"is \[8, 1, 8\].*Write \[1, 8\]",
        ),
    ],
)
def test_mistakes_are_explained(spec_changes, sections, message):
    with pytest.raises(ConfigError, match=message):
        check(spec_changes, **sections)


def test_all_mistakes_are_in_one_error():
    with pytest.raises(ConfigError, match="half_life") as caught:
        check(
            SEARCH,
            index={"k": 200},
            training={"time_decay_half_life_days": 7},
            evaluate={"baselines": ["item_knn", "recent_popularity"]},
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith("run 'toy': ") for line in lines)


def test_settings_that_the_data_allow_are_accepted():
    check(
        SEARCH,
        evaluate={"baselines": ["popularity", "bm25", "hybrid"]},
        export={"k": 200},
        index={"k": 200},
    )
    check({}, evaluate={"baselines": ["popularity", "recent_popularity", "item_knn", "ease"]})
