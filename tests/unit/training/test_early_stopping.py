from tfrs_twotower.training.reports import BestSoFar


def test_it_keeps_the_best_and_stops_after_patience():
    best = BestSoFar(patience=2)
    assert [best.see(step, value) for step, value in ((1, 0.3), (2, 0.5), (3, 0.4))] == [
        True,
        True,
        False,
    ]
    assert not best.exhausted
    best.see(4, 0.1)
    assert best.exhausted
    assert (best.step, best.value) == (2, 0.5)


def test_equal_is_not_better():
    best = BestSoFar(patience=1)
    best.see(1, 0.5)
    assert not best.see(2, 0.5)
    assert best.step == 1


def test_no_patience_never_stops():
    best = BestSoFar(patience=None)
    for step in range(100):
        best.see(step, 0.0)
    assert not best.exhausted
