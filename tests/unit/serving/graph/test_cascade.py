"""The cascade in the graph, against loops over single candidates."""

import numpy as np
import pytest
import tensorflow as tf

from serving.graph.model import ServingModel
from tests.reference.cascade import cascade as oracle
from tests.reference.search import LOWEST
from tests.unit.serving import fakes
from tests.unit.serving.fake_pre_ranker import fake_pre_ranker
from tfrs_twotower.index.restricts import CandidateAttributes

POOL, K = 12, 6
COLOURS = [b"red", b"green", b"blue", b""]
ATTRIBUTES = CandidateAttributes(
    {
        "colour": np.array([COLOURS[row % 4] for row in range(25)], object),
        "tags": np.array([[b"a" if row < 9 else b"", b"b"] for row in range(25)], object),
    }
)


def serving_model(pre_ranker, attributes=None, k=K):
    return ServingModel(fakes.fake_release(pre_ranker=pre_ranker, attributes=attributes, k=k), "v")


@pytest.fixture(scope="module")
def pre_ranker():
    return fake_pre_ranker(POOL, linear=False)


@pytest.fixture(scope="module")
def signatures(pre_ranker):
    return serving_model(pre_ranker).signatures()


@pytest.fixture(scope="module")
def restricted(pre_ranker):
    return serving_model(pre_ranker, ATTRIBUTES).signatures()


def ask(signatures, name, inputs):
    outputs = signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
    return {key: value.numpy() for key, value in outputs.items()}


def cascaded(model):
    """The cascade's answer to one query, not traced: ids `[1, k]`."""
    raw = {name: tf.constant(value) for name, value in fakes.requests(1, [[]]).items()}
    return model.cascade(raw, raw.pop("exclude_ids"))[1].numpy()


def expected(pre_ranker, number, left_out, k=K):
    """The oracle's rows; the scorers' scale is in the weights, and their biases change no order."""
    towers = [member.towers for member in pre_ranker.members]
    w = pre_ranker.combination.weights
    scales = [1.0, *(tower.scorer.scale for tower in towers), 1.0, 1.0]
    return oracle(
        fakes.VECTORS[number],
        fakes.VECTORS,
        [tower.query.table.numpy()[number] for tower in towers],
        [member.candidate_heads.numpy() for member in pre_ranker.members],
        pre_ranker.candidate_signals.numpy(),
        weights=[weight * scale for weight, scale in zip(w, scales, strict=True)],
        left_out=left_out,
        size=POOL,
        k=k,
    )


def rows_of(ids):
    return [fakes.IDS.index(name.decode()) for name in ids if name]


def test_random_exclusions_agree_with_the_oracle(signatures, pre_ranker):
    random = np.random.default_rng(0)
    for size in (1, 5):
        excluded = [
            list(random.choice([*fakes.IDS, "", "unknown"], random.integers(0, 30)))
            for _ in range(size)
        ]
        numbers = random.integers(0, 25, size)
        inputs = fakes.requests(size, excluded, numbers.astype(np.float32))
        answer = ask(signatures, "serving_default", inputs)
        for row in range(size):
            left_out = {fakes.IDS.index(name) for name in excluded[row] if name in fakes.IDS}
            ranked = expected(pre_ranker, numbers[row], left_out)[1]
            assert rows_of(answer["candidate_ids"][row]) == ranked
            assert (np.diff(answer["scores"][row]) <= 0).all()
            assert (answer["scores"][row, len(ranked) :] == np.float32(LOWEST)).all()


def test_retrieval_alone_is_still_there(signatures, pre_ranker):
    answer = ask(signatures, "candidate_generation", fakes.requests(2, [[], []]))
    for number in range(2):
        pool = expected(pre_ranker, number, set())[0]
        assert rows_of(answer["candidate_ids"][number]) == pool[:K]


def test_listed_candidates_have_the_scores_of_the_cascade(signatures):
    inputs = fakes.requests(3, [[], [], []], np.array([4.0, 5.0, 6.0], np.float32))
    cascade = ask(signatures, "serving_default", inputs)
    del inputs["exclude_ids"]
    turned = cascade["candidate_ids"][:, ::-1]
    listed = np.concatenate([turned, np.array([["", "nobody"]] * 3, object)], axis=1)
    answer = ask(signatures, "pre_ranking", {**inputs, "candidate_ids": listed.astype(str)})
    np.testing.assert_allclose(answer["scores"][:, :K], cascade["scores"][:, ::-1], atol=1e-5)
    assert (answer["scores"][:, K:] == np.float32(LOWEST)).all()
    assert answer["model_version"].tolist() == [b"v"] * 3


def test_equal_scores_stand_in_the_order_of_rows():
    """Every weight is 0: all of the pool tie."""
    model = serving_model(fake_pre_ranker(POOL, weights=(0.0,) * 7))
    rows = rows_of(cascaded(model)[0])
    pool = expected(fake_pre_ranker(POOL, linear=False), 0, set())[0]
    assert rows == sorted(pool)[:K]


def test_a_pool_that_is_smaller_than_the_list_and_one_larger_than_the_corpus():
    for pool, k, length in ((2, 6, 6), (100, 25, 25)):
        model = serving_model(fake_pre_ranker(pool), k=k)
        assert len(set(rows_of(cascaded(model)[0]))) == length


def test_signatures_come_with_what_they_need(signatures, restricted):
    assert signatures["pre_ranking"].structured_outputs["scores"].shape.as_list() == [None, None]
    for name in ("serving_default", "candidate_generation"):
        with_restricts = set(restricted[name].structured_input_signature[1])
        assert with_restricts - set(signatures[name].structured_input_signature[1]) == {
            "allow",
            "deny",
        }


CASES = [
    ([], [], set(range(25))),
    (["colour=red", "colour=blue"], [], {row for row in range(25) if row % 4 in (0, 2)}),
    (["colour=red", "tags=a"], [], {0, 4, 8}),
    (["tags=b"], ["tags=a"], set(range(9, 25))),
    ([], ["nonsense", "colour=green"], {row for row in range(25) if row % 4 != 1}),
    (["colour"], [], set()),
    (["size=3"], [], set()),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_restricts(restricted, pre_ranker, number):
    allow, deny, permitted = CASES[number]
    inputs = fakes.requests(1, [["c08"]])
    lists = {"allow": [["", *allow, ""]], "deny": [["", *deny]]}
    answer = ask(restricted, "serving_default", {**inputs, **lists})
    left_out = (set(range(25)) - permitted) | {8}
    assert rows_of(answer["candidate_ids"][0]) == expected(pre_ranker, 0, left_out)[1]


@pytest.mark.parametrize("signature", ["serving_default", "candidate_generation"])
@pytest.mark.parametrize(
    "columns", [["a", "b"], ["b", "a"], ["a", "", "b"], ["", "a", "b"], ["a", "nobody", "b"]]
)
def test_any_column_may_hold_an_id_and_an_empty_text_is_none(
    restricted, pre_ranker, signature, columns
):
    """The first column of a list counts as the others do, and "" counts nowhere."""
    inputs = fakes.requests(1, [[]])
    plain = {**inputs, "allow": [[""]], "deny": [[""]]}

    def answer(**lists):
        return rows_of(ask(restricted, signature, {**plain, **lists})["candidate_ids"][0])

    def wanted(left_out):
        pool, ranked = expected(pre_ranker, 0, left_out)
        return ranked if signature == "serving_default" else pool[:K]

    pool, ranked = expected(pre_ranker, 0, set())
    first, second = [row for row in pool[:K] if row in ranked][:2]  # both would be answered
    names = {"a": fakes.IDS[first], "b": fakes.IDS[second]}
    assert answer() == wanted(set())
    assert answer(exclude_ids=[[names.get(c, c) for c in columns]]) == wanted({first, second})
    everything = set(range(25))
    tokens = {"a": "tags=a", "b": "colour=red"}
    asked = [[tokens.get(column, column) for column in columns if column != "nobody"]]
    assert answer(allow=asked) == wanted(everything - {0, 4, 8})
    assert answer(deny=asked) == wanted({*range(9), 12, 16, 20, 24})


def test_each_query_of_a_batch_has_its_own_restricts(restricted, pre_ranker):
    inputs = fakes.requests(len(CASES), [[]] * len(CASES))
    widest = [max(len(case[part]) for case in CASES) for part in (0, 1)]
    for part, name in enumerate(("allow", "deny")):
        inputs[name] = [["", *c[part], *[""] * (widest[part] - len(c[part]))] for c in CASES]
    answer = ask(restricted, "serving_default", inputs)
    for number, (_, _, permitted) in enumerate(CASES):
        ranked = expected(pre_ranker, number, set(range(25)) - permitted)[1]
        assert rows_of(answer["candidate_ids"][number]) == ranked


def test_serialized_examples_carry_restricts(restricted):
    def example(**lists):
        feature = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
            for name, values in lists.items()
        }
        feature["size"] = tf.train.Feature(float_list=tf.train.FloatList(value=[2.0]))
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    examples = [example(), example(allow=[b"colour=red"], exclude_ids=[b"c00", b"c04"])]
    answer = ask(restricted, "serving_examples", {"examples": examples})
    assert len(rows_of(answer["candidate_ids"][0])) == K
    assert set(rows_of(answer["candidate_ids"][1])) <= {8, 12, 16, 20, 24}
    # Row by row, as TFX's BulkInferrer takes answers apart: a row of strings is an array.
    assert answer["model_version"].tolist() == [[b"v"], [b"v"]]
    alone = ask(restricted, "serving_examples", {"examples": examples[:1]})
    np.testing.assert_array_equal(alone["candidate_ids"][0], answer["candidate_ids"][0])
