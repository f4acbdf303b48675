from tfrs_twotower.evaluation.report import rendering


def test_values_in_words():
    assert rendering.number(-1.5, 1) == "\N{MINUS SIGN}1.5"
    assert rendering.number(None) == "\N{EN DASH}"
    assert rendering.percent(0.123) == "12.3"
    assert [rendering.duration(seconds) for seconds in (0.64, 48.2, 190.3, 59.7, 3840)] == [
        "0.6 s", "48 s", "3 min 10 s", "1 min 00 s", "1 h 04 min",
    ]  # fmt: skip
    assert rendering.in_words({"a_b": True, "c": [1, 2.5], "d": 12345}) == (
        "a b yes, c 1, 2.5, d 12,345"
    )
    window = {"test_end": 893286639, "train_start": 874724710, "train_end": None}
    assert rendering.window_in_words(window) == "train start 1997-09-20, test end 1998-04-22"


def test_figures_as_people_write_them():
    assert [rendering.decimal(value) for value in (0.593, -0.012, 1.0, None)] == [
        ".5930", "-.0120", "1.0000", "",
    ]  # fmt: skip
    assert [rendering.probability(p) for p in (0.0312, 0.0002, 1.0, None)] == [
        ".031",
        "<.001",
        "1.000",
        "",
    ]


def test_long_titles_are_cut_after_a_word():
    assert rendering.shorten("two\n words", 110) == "two words"
    assert rendering.shorten("alpha beta, gamma", 12) == "alpha beta…"
    assert rendering.shorten("x" * 20, 12) == "x" * 12 + "…"
    assert len(rendering.shorten("passage of many words " * 50, 110)) <= 111


def test_a_link_is_added_once_and_escaped():
    page = '<ul class="links"><li>old</li></ul>'
    linked = rendering.with_link(page, "../index.html", "A & B")
    assert linked == (
        '<ul class="links"><li><a href="../index.html">A &amp; B</a></li><li>old</li></ul>'
    )
    assert rendering.with_link(linked, "../index.html", "A & B") == linked
