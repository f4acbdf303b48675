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
        ("interaction", "plain", ["inttower", "mol", "cold", "colbert"]),
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
    for other in set(fitting) - {"colbert"}:  # for which the spec lacks texts
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


@pytest.mark.parametrize("section", ["training", "pre_ranking"])
def test_views_are_of_texts(section):
    text = {"name": "text", "kind": "text"}
    one_side = {"candidate": {"features": [ITEM, text]}}

    def views(side):
        return {section: {"terms": {"multi_view": {"side": side}}}}

    check(one_side, **views("candidate"))
    assert mistake(one_side, **views("both")) == (
        f"run 'toy': {section}.terms.multi_view.side is both, but the spec 'toy' has no text "
        "feature in query.features. Set side: candidate if that one has text, or remove the term."
    )
    assert "in candidate.features. Set side: query" in mistake({}, **views("candidate"))


def test_augmented_vectors_of_an_inttower_learn_to_mimic():
    augmented = {"kind": "inttower", "candidate_augmentation": "auto"}
    check(WITH_GENRE, model=augmented, training={"terms": {"mimic": {}}})
    members = {"models": [augmented], "terms": {"mimic": {}}}
    check(WITH_GENRE, pre_ranking=members)
    members["models"].append({"kind": "inttower"})
    assert "the term is for kind dat. Remove it." in mistake(WITH_GENRE, pre_ranking=members)


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


def narrow(widths, width=None, **sections):
    terms = {"terms": {"matryoshka": {"widths": widths}}} if widths else {}
    sections = {"model": {"embedding_dim": 32}, **sections}
    return {"training": terms, "embed": {"width": width}, **sections}


@pytest.mark.parametrize("widths", [[32], [8, 64], [8, 8]])
def test_widths_are_distinct_and_less_than_the_whole(widths):
    assert mistake({}, **narrow(widths)) == (
        f"run 'toy': training.terms.matryoshka.widths is {widths}; they must be distinct, and less "
        "than model.embedding_dim 32, which the softmax trains anyway. Change them."
    )
    check({}, **narrow([8, 16]))


def test_a_served_width_was_trained():
    check({}, **narrow([8, 16], 16))
    assert mistake({}, **narrow([8, 16], 12)) == (
        "run 'toy': embed.width is 12, which is not among training.terms.matryoshka.widths (8, "
        "16): so few entries were not trained to rank by themselves. Add it there, or remove "
        "embed.width."
    )
    assert "(none, because that term is not set)" in mistake({}, **narrow([], 16))


def test_narrow_vectors_have_no_wide_part():
    model = {"embedding_dim": 32, "wide": {"kind": "none", "popularity_days": [None]}}
    check(WITH_GENRE, **narrow([8], model=model))
    assert "Remove embed.width, or set model.wide: null." in mistake(
        WITH_GENRE, **narrow([8], 8, model=model)
    )


def test_members_have_one_width():
    members = {"terms": {"matryoshka": {"widths": [8]}}}
    assert mistake({}, pre_ranking=members) == (
        "run 'toy': pre_ranking.terms.matryoshka is set, but a member compares heads, which have "
        "one width. Move it to training.terms."
    )
