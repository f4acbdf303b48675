import pytest

from tfrs_twotower.errors import did_you_mean


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("batchsize", " (did you mean 'batch_size'?)"),
        ("epoch", " (did you mean 'epochs'?)"),
        ("warmup", ""),
    ],
)
def test_names_the_closest_known_name(name, hint):
    assert did_you_mean(name, ["epochs", "batch_size", "batch_sizes_of_bundles"]) == hint


def test_a_higher_cutoff_asks_for_more_likeness():
    assert did_you_mean("ome", ["one"]) == " (did you mean 'one'?)"
    assert did_you_mean("ome", ["one"], cutoff=0.7) == ""
