import pytest

from tests.unit.preflight.checking import check, mistake

ITEM = {"name": "item", "kind": "id"}
WORDS = {"name": "text", "kind": "text", "vocabulary": "words"}
PASSAGE = {**WORDS, "encoder": "transformer"}
TEXTS = {"query": {"features": [WORDS]}, "candidate": {"features": [ITEM, PASSAGE]}}
SLOTS = {"query_slots": {}}
TERM = {"terms": {"query_reconstruction": {}}}


def test_slots_fit_texts_on_both_sides():
    check(TEXTS, model=SLOTS, training=TERM)
    check(TEXTS, model={**SLOTS, "kind": "dat"})
    check(TEXTS, model={**SLOTS, "kind": "colbert"})
    pretrained = {**WORDS, "encoder": "pretrained", "checkpoint": "bert"}
    check({name: {"features": [pretrained]} for name in ("query", "candidate")}, model=SLOTS)


def test_slots_need_a_transformer_over_a_text_of_candidates():
    for features in ([ITEM], [ITEM, WORDS]):
        spec = {**TEXTS, "candidate": {"features": features}}
        assert mistake(spec, model=SLOTS) == (
            "run 'toy': model.query_slots is set, which decodes queries from texts, but the spec "
            "'toy' has no text feature with encoder: transformer or pretrained in "
            "candidate.features. Set the encoder of one, or remove the key."
        )


def test_slots_need_a_text_of_queries():
    spec = {"candidate": TEXTS["candidate"]}
    assert mistake(spec, model=SLOTS) == (
        "run 'toy': model.query_slots is set, which predicts the words of queries, but the spec "
        "'toy' has no text feature in query.features. Add one, or remove the key."
    )


def test_slots_predict_one_vocabulary():
    other = {**WORDS, "name": "more"}
    check({**TEXTS, "query": {"features": [WORDS, other]}}, model=SLOTS)
    spec = {**TEXTS, "query": {"features": [WORDS, {**other, "vocabulary": "others"}]}}
    assert mistake(spec, model=SLOTS) == (
        "run 'toy': model.query_slots is set, but the query's texts have the vocabularies others, "
        "words, and a slot predicts one word of one vocabulary. Give them the same `vocabulary` in "
        "the spec, or remove the key."
    )


def test_there_are_no_more_slots_than_tokens():
    spec = {**TEXTS, "query": {"features": [{**WORDS, "max_tokens": 12}]}}
    check(spec, model={"query_slots": {"num_slots": 12}})
    assert mistake(spec, model=SLOTS) == (
        "run 'toy': model.query_slots.num_slots is 16, but the query's texts have at most 12 "
        "tokens (max_tokens): the slots beyond would predict nothing. Set num_slots to 12 or less."
    )


@pytest.mark.parametrize("kind", ["inttower", "mol"])
def test_towers_of_heads_have_no_slots(kind):
    assert mistake(TEXTS, model={**SLOTS, "kind": kind}) == (
        f"run 'toy': model.query_slots is set, but model.kind is {kind}; slots are for kind plain, "
        "dat or colbert. Remove the key, or set model.kind: plain."
    )


def test_members_have_no_slots_and_no_reconstruction():
    members = {"models": [{"kind": "colbert", **SLOTS}]}
    assert mistake(TEXTS, pre_ranking=members) == (
        "run 'toy': pre_ranking.models.0.query_slots is set, but a member compares heads with the "
        "query itself. Remove the key; it belongs to the section model."
    )
    assert mistake(TEXTS, pre_ranking=TERM) == (
        "run 'toy': pre_ranking.terms.query_reconstruction is set, but members have no query "
        "slots. Move it to training.terms."
    )


def test_a_reconstruction_needs_slots():
    assert mistake(TEXTS, training=TERM) == (
        "run 'toy': training.terms.query_reconstruction is set, but model.query_slots is not: "
        "there are no slots that could predict a query. Set model.query_slots: {}, or remove the "
        "term."
    )


def test_slots_have_to_be_trained():
    pretrained = {**WORDS, "encoder": "pretrained", "checkpoint": "bert"}
    spec = {name: {"features": [pretrained]} for name in ("query", "candidate")}
    assert mistake(spec, model=SLOTS, training={"epochs": 0}) == (
        "run 'toy': model.query_slots is set, but training.epochs is 0, so that nothing would "
        "teach the slots what is asked. Remove the key, or train."
    )


def test_heads_of_slots_divide_the_dimension():
    model = {**SLOTS, "embedding_dim": 30}
    assert "(candidate.features.text has encoder: transformer)" in mistake(TEXTS, model=model)


def test_reconstruction_alone_is_refused():
    for balance, reading in ((0.0, "sum"), (1.0, "shares")):
        term = {"balance": balance, "reading": reading}
        check(TEXTS, model=SLOTS, training={"terms": {"query_reconstruction": term}})
    with pytest.raises(ValueError, match="balance: found 0 with reading: shares"):
        check(TEXTS, model=SLOTS, training={"terms": {"query_reconstruction": {"balance": 0}}})


def test_fewer_layers_of_queries_need_a_transformer_over_their_text():
    model = {"query_transformer_layers": 1}
    check({**TEXTS, "query": {"features": [PASSAGE]}}, model=model)
    assert mistake(TEXTS, model=model) == (
        "run 'toy': model.query_transformer_layers is 1, but the spec 'toy' has no text feature "
        "with encoder: transformer in query.features. Remove the key, or set the encoder of one."
    )


def test_sides_that_share_their_layers_have_as_many():
    texts = {side: {"features": [PASSAGE]} for side in ("query", "candidate")}
    layers = {"query_transformer_layers": 1}
    check(texts, model={**layers, "text_sharing": "projection", "num_residual_layers": 1})
    assert mistake(texts, model={**layers, "text_sharing": "siamese"}) == (
        "run 'toy': model.query_transformer_layers is 1, but model.text_sharing is siamese: both "
        "sides have the same layers. Remove one key."
    )
