import pytest

from tests.unit.preflight.checking import check, mistake
from tests.unit.specs.documents import spec_data

GENRE = {"name": "genre", "kind": "categorical"}
ITEM = {"name": "item", "kind": "id"}
WITH_GENRE = {"candidate": {"features": [ITEM, GENRE]}}


@pytest.mark.parametrize(
    ("term", "kind", "fitting"),
    [
        ("mimic", "plain", ["dat"]),
        ("mimic", "inttower", ["dat"]),
        ("interaction", "plain", ["inttower", "mol"]),
        ("contrastive_interaction", "dat", ["inttower"]),
        ("contrastive_interaction", "mol", ["inttower"]),
    ],
)
def test_a_term_of_other_towers_is_refused(term, kind, fitting):
    sections = {"model": {"kind": kind}, "training": {"terms": {term: {}}}}
    assert mistake({}, **sections) == (
        f"run 'toy': training.terms.{term} is set, but the towers are of kind {kind}; the "
        f"term is for kind {' or '.join(fitting)}. Remove it, or set model.kind: {fitting[0]}."
    )
    for other in fitting:
        check({}, **{**sections, "model": {"kind": other}})


def test_terms_of_the_pre_ranker_are_checked_too():
    assert mistake({}, pre_ranking={"terms": {"mimic": {}}}) == (
        "run 'toy': pre_ranking.terms.mimic is set, but the towers are of kind inttower; the term "
        "is for kind dat. Remove it."
    )
    check({}, pre_ranking={"terms": {"contrastive_interaction": {}}})
    members = {"models": [{"kind": "inttower"}, {"kind": "mol"}]}
    check({}, pre_ranking=members)
    assert mistake({}, pre_ranking={"terms": {"contrastive_interaction": {}}, **members}) == (
        "run 'toy': pre_ranking.terms.contrastive_interaction is set, but the towers are of kind "
        "mol; the term is for kind inttower. Remove it."
    )


def test_categories_to_align_are_a_categorical_candidate_feature():
    def terms(feature):
        return {"training": {"terms": {"category_alignment": {"feature": feature}}}}

    check(WITH_GENRE, **terms("genre"))
    assert mistake(WITH_GENRE, **terms("item")) == (
        "run 'toy': training.terms.category_alignment.feature is 'item', which is not a "
        "categorical feature of the candidates; the spec 'toy' has genre. Name one of kind "
        "categorical, or remove the term."
    )
    query_side = {"query": {"features": [*spec_data()["query"]["features"], GENRE]}}
    assert "the spec 'toy' has none." in mistake(query_side, **terms("genre"))


@pytest.mark.parametrize("section", ["training", "pre_ranking"])
def test_contrastive_interaction_needs_equal_numbers_of_heads(section):
    def sections(**heads):
        model = {"kind": "inttower", **heads}
        terms = {"terms": {"contrastive_interaction": {}}}
        if section == "training":
            return {"model": model, "training": terms}
        return {"pre_ranking": {"models": [{"kind": "inttower"}, model], **terms}}

    where = "model" if section == "training" else "pre_ranking.models.1"
    assert mistake({}, **sections(num_query_heads=2, num_candidate_heads=3)) == (
        f"run 'toy': {section}.terms.contrastive_interaction compares all heads of a query layer "
        f"with those of a candidate, but {where} has 2 (num_query_heads) and 3 (candidate_views x "
        "num_candidate_heads). Make them equal, or remove the term."
    )
    check({}, **sections(num_query_heads=6, num_candidate_heads=3, candidate_views=2))
    # Without the term the numbers may differ.
    check({}, model={"kind": "inttower", "num_query_heads": 2, "num_candidate_heads": 3})


def test_an_augmentation_that_does_not_fit_the_spec_is_refused():
    model = {"kind": "dat", "candidate_segment": "colour"}
    assert mistake({}, model=model) == (
        "run 'toy': model.candidate_segment is 'colour', which is not a categorical feature of the "
        "candidate; found none. Name one of kind categorical."
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
