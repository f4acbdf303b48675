import pytest

from tfrs_twotower.data.ids import did_you_mean_id, plain_id


@pytest.mark.parametrize(
    ("ids", "plain"),
    [
        (("2", "2.0", "002", " 2 ", "'2'", "b'2'", "2.", "+2"), "2"),
        (("100000", "1e+05", "1E5", "100000.0"), "100000"),
        (("0", "000", "0.0"), "0"),
        (("a-01", " A-01", '"A-01"'), "a-01"),
        (("1.5",), "1.5"),
        (("9007199254740993",), "9007199254740993"),  # beyond the whole numbers of a float
    ],
)
def test_ids_that_mean_the_same(ids, plain):
    assert {plain_id(text) for text in ids} == {plain}


def test_an_id_that_means_the_same_comes_before_one_of_similar_letters():
    assert did_you_mean_id("904", ["9040", "000904"]) == " (did you mean '000904'?)"
    assert did_you_mean_id("b-7", ["B-71", "B-7"]) == " (did you mean 'B-7'?)"


def test_an_id_of_similar_letters():
    assert did_you_mean_id("K0001", ["K00001", "M12"]) == " (did you mean 'K00001'?)"
    assert did_you_mean_id("elsewhere", ["K00001", "M12"]) == ""


def test_letters_of_many_ids_are_not_compared():
    many = [f"K{number:06d}" for number in range(50_001)]
    assert did_you_mean_id("K00001", many) == ""
    assert did_you_mean_id("k000001", many) == " (did you mean 'K000001'?)"
