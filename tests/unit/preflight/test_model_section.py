import pytest

from tests.unit.preflight.checking import check, mistake
from tests.unit.specs.documents import spec_data

GENRE = {"name": "genre", "kind": "categorical"}
ITEM = {"name": "item", "kind": "id"}
WITH_GENRE = {"candidate": {"features": [ITEM, GENRE]}}
HISTORIES = {"query": {"features": [{"name": "history", "kind": "history"}]}, **WITH_GENRE}


def test_an_augmentation_that_does_not_fit_the_spec_is_refused():
    model = {"kind": "dat", "candidate_segment": "colour"}
    assert mistake({}, model=model) == (
        "run 'toy': model.candidate_segment is 'colour', which is not a categorical feature of the "
        "candidate; found none. Name one of kind categorical."
    )


def test_augmented_vectors_of_a_member_are_checked_too():
    member = {"kind": "inttower", "candidate_augmentation": "auto", "candidate_segment": "colour"}
    assert mistake({}, pre_ranking={"models": [member]}).startswith(
        "run 'toy': pre_ranking.models.0.candidate_segment is 'colour', which is not a categorical "
    )
    texts = {"query": {"features": [PRETRAINED]}, "candidate": {"features": [PRETRAINED]}}
    assert mistake(texts, model={"kind": "inttower", "query_augmentation": "auto"}) == (
        "run 'toy': model.kind is inttower, but with the features of this spec "
        "query_augmentation is auto and candidate_augmentation none, so neither side is augmented. "
        "Add a feature of kind id (with a vocabulary) to either side or a history to the query's, "
        "or remove both keys."
    )


PRETRAINED = {"name": "text", "kind": "text", "encoder": "pretrained", "checkpoint": "bert"}
BOTH_PRETRAINED = {"query": {"features": [PRETRAINED]}, "candidate": {"features": [PRETRAINED]}}
UNTRAINED = {"training": {"epochs": 0}}


BAG = {"name": "text", "kind": "text", "vocabulary": "words"}
BOTH_BAGS = {"query": {"features": [BAG]}, "candidate": {"features": [BAG]}}


def test_towers_without_training_may_start_from_the_corpus():
    svd = {"model": {"token_table": "svd"}}
    check(BOTH_BAGS, **UNTRAINED, **svd)
    assert "none in query.features and candidate.features" in mistake(BOTH_BAGS, **UNTRAINED)
    apart = {**BOTH_BAGS, "query": {"features": [{**BAG, "vocabulary": "others"}]}}
    assert "has none in query.features. Add" in mistake(apart, **UNTRAINED, **svd)
    refit = {"training": {"epochs": 0, "refit": True}}
    assert "there is nothing to repeat" in mistake(BOTH_BAGS, **refit, **svd)
    check(BOTH_BAGS, **refit, model={"token_table": "svd", "query_map": "ridge"})


def test_what_starts_from_texts_needs_them():
    assert "model.token_table is svd, but the spec 'toy' has no text feature with" in mistake(
        {}, model={"token_table": "svd"}
    )
    pseudo = {"training": {"pseudo_questions": {}}}
    assert "training.pseudo_questions makes questions of the candidates' texts, but" in mistake(
        {}, **pseudo
    )
    check(BOTH_BAGS, **pseudo)


def test_a_member_has_no_query_map():
    member = {"kind": "inttower", "query_map": "ridge"}
    assert "pre_ranking.models.0.query_map is ridge, but a member compares heads" in mistake(
        BOTH_BAGS, pre_ranking={"models": [member], "popularity_days": []}
    )


def test_towers_without_training_need_pretrained_texts():
    check(BOTH_PRETRAINED, **UNTRAINED)
    one_side = {**BOTH_PRETRAINED, "query": spec_data()["query"], "candidate": {"features": [
        {"name": "item", "kind": "id"}, PRETRAINED
    ]}}  # fmt: skip
    assert "the spec 'toy' has none in query.features. Add" in mistake(one_side, **UNTRAINED)
    assert "model.kind is inttower, whose parts mean nothing" in mistake(
        BOTH_PRETRAINED, model={"kind": "inttower"}, **UNTRAINED
    )
    assert "training.refit is set: there is nothing to repeat" in mistake(
        BOTH_PRETRAINED, training={"epochs": 0, "refit": True}
    )


@pytest.mark.parametrize("section", ["training", "pre_ranking"])
@pytest.mark.parametrize(
    ("key", "found", "needed"),
    [("history_encoder", "transformer", "mean"), ("history_content", "learned", "none")],
)
def test_parts_of_a_whole_batch_cannot_be_cached_in_chunks(section, key, found, needed):
    changes, plain, special = HISTORIES, {"kind": "inttower"}, {"kind": "inttower", key: found}
    if section == "training":
        sections = {"model": special, "training": {"cached_chunks": 4}}
        where = "model"
    else:
        sections = {"pre_ranking": {"models": [plain, special], "cached_chunks": 4}}
        where = "pre_ranking.models.1"
    assert mistake(changes, **sections) == (
        f"run 'toy': {section}.cached_chunks is 4, but {where}.{key} is {found}, which is computed "
        f"for the histories of a whole batch. Set cached_chunks: 1, or {key}: {needed}."
    )
    if section == "training":
        check(changes, **{**sections, "training": {}})


def test_late_interaction_needs_texts_on_both_sides():
    member = {"pre_ranking": {"models": [{"kind": "inttower"}, {"kind": "colbert"}]}}
    check(TEXTS, **member)
    one_side = {**TEXTS, "candidate": WITH_GENRE["candidate"]}
    assert mistake(one_side, **member) == (
        "run 'toy': pre_ranking.models.1.kind is colbert, which compares the tokens of texts, but "
        "the spec 'toy' has no text feature in candidate.features. Choose another kind, or add one."
    )


TEXT = {"name": "text", "kind": "text", "vocabulary": "words"}
TEXTS = {"query": {"features": [TEXT]}, "candidate": {"features": [ITEM, TEXT]}}
MUVERA = {"kind": "colbert", "muvera": {}}


def test_a_member_has_no_encodings_of_its_tokens():
    check(TEXTS, model=MUVERA)
    assert mistake(TEXTS, pre_ranking={"models": [MUVERA]}) == (
        "run 'toy': pre_ranking.models.0.muvera is set, but a member compares the tokens "
        "themselves. Remove the key; it belongs to the section model."
    )


@pytest.mark.parametrize(
    ("key", "model", "training"),
    [
        ("model.wide", {"wide": {"kind": "none", "popularity_days": [None]}}, {}),
        ("model.query_map", {"query_map": "ridge"}, {}),
        ("training.terms.matryoshka", {}, {"terms": {"matryoshka": {"widths": [8]}}}),
        ("training.softmax.same_tower", {}, {"softmax": {"same_tower": "query"}}),
    ],
)
def test_encodings_of_tokens_are_no_plain_vectors(key, model, training):
    assert mistake(TEXTS, model={**MUVERA, **model}, training=training) == (
        f"run 'toy': model.muvera is set, and so is {key}, which is made for vectors of cosines "
        "and not for encodings of tokens. Remove one of them."
    )
