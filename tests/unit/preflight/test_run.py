import pytest

from tests.unit.preflight.checking import check, mistake
from tfrs_twotower.errors import ConfigError

TEXT = {"name": "text", "kind": "text"}
ITEM = {"name": "item", "kind": "id"}
HISTORY = {"name": "history", "kind": "history"}
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
            SEARCH,
            {"model": {"history_content": "learned"}},
            "history_content is learned.*not have a history feature and a candidate feature",
        ),
        (
            SEARCH,
            {"model": {"history_encoder": "transformer"}},
            "history_encoder is transformer.*not have a history feature",
        ),
        (
            {},
            {
                "model": {
                    "embedding_dim": 32,
                    "history_encoder": "transformer",
                    "history_transformer": {"num_heads": 5},
                }
            },
            r"history_transformer\.num_heads is 5, which does not divide model\.embedding_dim 32",
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
            {"candidate": {"features": [ITEM, TEXT]}},
            {"export": {"restricts": ["text"]}},
            r"export\.restricts names 'text'; .* multi_categorical, which are item\. Name one",
        ),
        (
            SEARCH,
            {"evaluate": {"baselines": ["recent_popularity"]}},
            "recent_popularity, but the spec",
        ),
        (SEARCH, {"evaluate": {"baselines": ["ease"]}}, "splits by query"),
        ({}, {"evaluate": {"baselines": ["ease", "ease"]}}, "names ease twice"),
        (
            {},
            {"index": {"kind": "hybrid"}},
            r"index\.kind is hybrid, .* none in query\.features and candidate\.features\. Add one",
        ),
        (
            SEARCH,
            {"index": {"kind": "hybrid"}, "export": {"shards": 2}},
            r"export\.shards is 2, but index\.kind is hybrid, .* or index\.kind: lexical",
        ),
        (
            SEARCH,
            {"index": {"kind": "lexical", "lexical": {"feedback": True}}, "export": {"shards": 2}},
            r"export\.shards is 2, but index\.lexical\.feedback is true, .* or feedback: false",
        ),
        (
            SEARCH,
            {"index": {"kind": "lexical", "vectors": "int8"}},
            r"vectors is int8, but index\.kind is lexical",
        ),
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


def test_an_index_of_words_alone_has_shards():
    check(SEARCH, index={"kind": "lexical"}, export={"shards": 2})
    check(SEARCH, index={"lexical": {"feedback": True}}, export={"shards": 2})


@pytest.mark.parametrize("kind", ["lexical", "hybrid"])
def test_words_are_searched_where_both_sides_have_text(kind):
    check(SEARCH, index={"kind": kind})
    check(SEARCH, index={"kind": "hybrid", "vectors": "int8"})


def test_a_hybrid_joins_words_with_cosines_only():
    changes = {**SEARCH, "candidate": {"features": [ITEM, TEXT]}}
    wide = {"wide": {"kind": "none"}}
    check(changes, model=wide, index={"kind": "lexical"})
    assert "with model.wide the scores are none" in mistake(
        changes, model=wide, index={"kind": "hybrid"}
    )


def test_defaults_of_pre_ranking_fit():
    check({}, pre_ranking={})
    check(SEARCH, pre_ranking={})


def test_ease_gets_what_it_needs():
    check({}, pre_ranking={"ease": {}, "models": []})


def test_bm25_gets_what_it_needs():
    with_text = {"candidate": {"features": [ITEM, TEXT]}}
    check(with_text, pre_ranking={"bm25": {}, "models": []})
    check({**SEARCH, **with_text}, pre_ranking={"bm25": {}, "models": []})
    hashed = {"candidate": {"features": [{**ITEM, "hash_buckets": 9}, TEXT]}}
    check({**SEARCH, **hashed}, pre_ranking={"bm25": {}, "models": []})


def test_tastes_get_what_they_need():
    colour = {"name": "colour", "kind": "categorical"}
    check({"candidate": {"features": [ITEM, colour]}}, pre_ranking={"tastes": {}})
    check({"candidate": {"features": [ITEM, TEXT]}}, pre_ranking={"tastes": {"words": 100}})


def test_a_wide_part_gets_what_it_needs():
    check({}, model={"wide": {}})
    check({}, model={"wide": {"kind": "none"}})


@pytest.mark.parametrize(
    ("spec_changes", "wide", "message"),
    [
        (
            {**SEARCH, "candidate": {"features": [ITEM, TEXT]}},
            {"kind": "rdlae"},
            "model.wide.kind is rdlae, which scores from a query's history; the spec 'toy' has no "
            "feature of kind history in query.features. Add one, or set model.wide.kind: none",
        ),
        (
            {"candidate": {"features": [{**ITEM, "hash_buckets": 100}]}},
            {"kind": "none"},
            "model.wide.popularity_days is set, which counts candidates by their id; the spec "
            "'toy' has 'item', which is hashed in candidate.features. Give candidates a feature "
            "of kind id without hash_buckets, or set popularity_days: [].",
        ),
    ],
)
def test_a_wide_part_that_lacks_something_is_refused(spec_changes, wide, message):
    assert message in mistake(spec_changes, model={"wide": wide})


CHECKPOINT = {**TEXT, "encoder": "pretrained", "checkpoint": "bert"}
BERTS = {"query": {"features": [CHECKPOINT]}, "candidate": {"features": [ITEM, CHECKPOINT]}}
PRETRAINED = {"teacher": "cross_encoder", "cross_encoder": {"encoder": "pretrained"}}


def test_teachers_get_what_they_need():
    check({}, pre_ranking={"mining": {"teacher": "ease"}, "list_terms": {"margin_mse": 1}})
    check(SEARCH, pre_ranking={"mining": {"teacher": "bm25"}, "list_terms": {"listwise_kl": 1}})
    check(SEARCH, pre_ranking={"mining": {"teacher": "cross_encoder"}})
    check(BERTS, pre_ranking={"mining": PRETRAINED})


@pytest.mark.parametrize(
    ("spec_changes", "section", "message"),
    [
        (
            {**SEARCH, "candidate": {"features": [ITEM, TEXT]}},
            {"mining": {"teacher": "ease"}},
            "pre_ranking.mining.teacher is ease, which scores from a query's history; the spec "
            "'toy' has no feature of kind history in query.features. Add one, or choose another "
            "teacher.",
        ),
        (
            {"candidate": {"features": [{**ITEM, "hash_buckets": 100}]}},
            {"mining": {"teacher": "ease"}},
            "pre_ranking.mining.teacher is ease, but candidate.features.item is hashed "
            "(hash_buckets), so a history does not say which candidates it holds. Remove "
            "hash_buckets, or choose another teacher.",
        ),
        (
            {**SEARCH, "candidate": {"features": [ITEM, TEXT]}},
            {"ease": {}},
            "pre_ranking.ease is set, which scores from a query's history; the spec 'toy' has no "
            "feature of kind history in query.features. Add one, or set ease: null.",
        ),
        (
            {"candidate": {"features": [{**ITEM, "hash_buckets": 100}]}},
            {"ease": {}, "models": []},
            "pre_ranking.ease is set, but candidate.features.item is hashed (hash_buckets), so a "
            "history does not say which candidates it holds. Remove hash_buckets, or set ease: "
            "null.",
        ),
        (
            {"candidate": {"features": [ITEM, TEXT]}},
            {"tastes": {}},
            "pre_ranking.tastes is set, which scores the values that a history prefers; the spec "
            "'toy' has no feature of kind categorical or multi_categorical without hash_buckets in "
            "candidate.features. Add one, set tastes.words, or set tastes: null.",
        ),
        (
            {},
            {"tastes": {"words": 100}},
            "pre_ranking.tastes.words is 100, but the spec 'toy' has no feature of kind text in "
            "candidate.features. Add one, or set words to 0.",
        ),
        (
            {"query": {"features": [HISTORY, TEXT]}},
            {"bm25": {}, "models": []},
            "pre_ranking.bm25 is set, which compares the words of candidates; the spec 'toy' has "
            "no feature of kind text in candidate.features. Add one, or set bm25: null.",
        ),
        (
            {
                "query": {"features": [{"name": "age", "kind": "numeric"}]},
                "candidate": {"features": [ITEM, TEXT]},
            },
            {"bm25": {}, "models": []},
            "pre_ranking.bm25 is set, which takes a query's words from its text or from the texts "
            "of its history; the spec 'toy' has no feature of kind text or history in "
            "query.features. Add one, or set bm25: null.",
        ),
        (
            {"candidate": {"features": [{**ITEM, "hash_buckets": 100}, TEXT]}},
            {"bm25": {}, "models": []},
            "pre_ranking.bm25 is set, but candidate.features.item is hashed (hash_buckets), so a "
            "history does not say which candidates it holds. Remove hash_buckets, or set bm25: "
            "null.",
        ),
        (
            {"query": {"features": [HISTORY, TEXT]}},
            {"mining": {"teacher": "bm25"}},
            "pre_ranking.mining.teacher is bm25, which needs a text feature on both sides; the "
            "spec 'toy' has none in candidate.features. Choose another teacher.",
        ),
        (
            {"query": {"features": [HISTORY, TEXT]}},
            {"mining": {"teacher": "cross_encoder"}},
            "pre_ranking.mining.teacher is cross_encoder, which needs a text feature on both "
            "sides; the spec 'toy' has none in candidate.features. Choose another teacher.",
        ),
        (
            SEARCH,
            {"mining": {"teacher": "cross_encoder"}, "models": [], "bm25": {}},
            "pre_ranking.mining.teacher is cross_encoder, but pre_ranking.models is empty, so that "
            "nothing is mined and nothing would learn from it. Name a model, or set teacher: none.",
        ),
        (
            SEARCH,
            {
                "mining": {"teacher": "cross_encoder", "depth": 5, "cross_encoder": {}},
                "list_size": 5,
            },
            "pre_ranking.mining.cross_encoder.negatives is 7, more than pre_ranking.mining.depth "
            "5, from which they are drawn. Set negatives to 5 or less, or raise the depth.",
        ),
        (
            SEARCH,
            {"mining": {"teacher": "cross_encoder", "cross_encoder": {"num_heads": 3}}},
            "pre_ranking.mining.cross_encoder.num_heads is 3, which does not divide "
            "pre_ranking.mining.cross_encoder.dim 64. Set num_heads to a divisor of it.",
        ),
        (
            {**BERTS, "query": {"features": [{**TEXT, "name": "words"}]}},
            {"mining": PRETRAINED},
            "pre_ranking.mining.cross_encoder.encoder is pretrained, which reads all texts with "
            "one encoder; the text features of the spec 'toy' have bert, no checkpoint. Give all "
            "of them encoder: pretrained and the same checkpoint, or set encoder: transformer.",
        ),
        (
            {},
            {"list_terms": {"listwise_kl": 0.5}},
            "pre_ranking.list_terms.listwise_kl is 0.5, but pre_ranking.mining.teacher is none: "
            "there is nothing to distill. Choose a teacher, or set the weight to 0.",
        ),
        (
            {},
            {"mining": {"depth": 201}},
            "pre_ranking.mining.depth is 201, more than pre_ranking.num_candidates 200, which is "
            "how many are scored again. Raise num_candidates to 201 or more, or lower the other.",
        ),
        (
            {},
            {"early_stopping": {"metric": "recall@500"}},
            "pre_ranking.early_stopping.metric is at 500, more than pre_ranking.num_candidates "
            "200, which is how many are scored again. Raise num_candidates to 500 or more, or "
            "lower the other.",
        ),
        (
            {},
            {"list_size": 51},
            "pre_ranking.list_size is 51, more than pre_ranking.mining.depth 50, from which the "
            "lists are drawn. Set list_size to 50 or less, or raise the depth.",
        ),
        (
            {},
            {"softmax": {"logq": "none", "logq_strength": 0.5}},
            "pre_ranking.softmax.logq_strength is 0.5, but logq is none: there is nothing to "
            "multiply. Set logq to counted or streaming, or remove the strength.",
        ),
        (
            {},
            {"models": [{"kind": "inttower"}, {"kind": "inttower", "token_dropout": 0.1}]},
            "pre_ranking.models.1.token_dropout is 0.1, but the spec 'toy' does not have a text "
            "feature. Remove the key, or add a text feature to the spec.",
        ),
    ],
)
def test_mistakes_of_pre_ranking_are_explained(spec_changes, section, message):
    assert mistake(spec_changes, pre_ranking=section) == f"run 'toy': {message}"


@pytest.mark.parametrize(
    ("sections", "setting"),
    [
        ({"evaluate": {"ks": [10, 500]}}, "evaluate.ks has 500"),
        ({"export": {"k": 500}}, "export.k is 500"),
    ],
)
def test_measured_and_served_lists_are_scored_again(sections, setting):
    assert mistake({}, pre_ranking={}, **sections).startswith(
        f"run 'toy': {setting}, more than pre_ranking.num_candidates 200"
    )
    check({}, pre_ranking={"num_candidates": 500}, **sections)


def test_early_stopping_of_the_pre_ranker_needs_validation_queries_of_its_own():
    split = {**SEARCH, "split": {"kind": "given", "validation": "train"}}
    message = mistake(split, training={"early_stopping": None}, pre_ranking={})
    assert "pre_ranking.early_stopping is set, but the spec 'toy' gives validation and" in message
