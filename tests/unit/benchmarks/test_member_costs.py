import pytest

from tests.benchmarks.member_costs import Cost, config_of, measure, multiplications, table


def test_multiplications_by_hand():
    """Two query layers of four heads against four heads of 32: 32 products of 32 numbers each."""
    products = 2 * 4 * 4 * 32
    assert multiplications(config_of("inttower")) == products
    # The network c from 32 products over 16 units, a b, and pi d.
    assert multiplications(config_of("mol")) == products + 2 * 32 * 16 + 2 * 32
    # Four heads of 32 and the products into 64, then 32, then 1; and l d.
    layers = (4 * 32 + 32) * 64 + 64 * 32 + 32
    assert multiplications(config_of("cold")) == products + 32 + layers


@pytest.mark.parametrize(("kind", "rows"), [("inttower", 4), ("mol", 4 + 1), ("cold", 4)])
def test_a_member_is_measured_with_every_storage(kind, rows):
    cost = measure(kind, 5, repeats=2, corpus=20)
    assert cost.stored == rows * 32
    assert set(cost.milliseconds) == {"float32", "float16", "int8"}
    assert min(cost.milliseconds.values()) > 0


def test_the_table():
    cost = Cost(12345, 128, {"float32": 1.234, "float16": 2.0, "int8": 0.5})
    assert table({"cold": cost}).splitlines() == [
        "| kind | multiplications | stored numbers | float32, ms | float16, ms | int8, ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| cold | 12,345 | 128 | 1.23 | 2.00 | 0.50 |",
    ]
