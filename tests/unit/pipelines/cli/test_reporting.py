import io

import pytest

from pipelines.cli import reporting
from pipelines.cli.reporting import LineReporter, TerminalReporter, make_reporter


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(reporting.time, "monotonic", lambda: Clock.now)
    return Clock


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_a_line_every_five_seconds_with_rate_and_remaining_time(clock, capsys):
    reporter = LineReporter()
    reporter.progress("train", 0, 100)
    clock.now += 4
    reporter.progress("train", 20, 100)
    assert lines(capsys) == []
    clock.now += 1
    reporter.progress("train", 25, 100, "loss 1.5")
    # 25 in 5 s is 5/s; the other 75 take 15 s
    assert lines(capsys) == ["  train: 25/100, 5.0/s, 15 s left, 5 s, loss 1.5"]
    clock.now += 5
    reporter.progress("train", 60, 100)
    # 60 in 10 s is 6/s; 40 / 6 = 6.67 s
    assert lines(capsys) == ["  train: 60/100, 6.0/s, 7 s left, 10 s"]


def test_a_message_cannot_command_the_terminal(capsys):
    LineReporter().message("key '\x1b[2J' in a\nb")
    TerminalReporter().message("[bold]\x1b]0;title\x07")
    assert capsys.readouterr().err == "key '\\x1b[2J' in a\nb\n[bold]\\x1b]0;title\\x07\n"


def test_the_end_is_always_told(clock, capsys):
    reporter = LineReporter()
    reporter.progress("train", 0, 10)
    clock.now += 2
    reporter.progress("train", 10, 10)
    assert lines(capsys) == ["  train: 10/10, 5.0/s, 0 s left, 2 s"]


def test_work_that_was_done_before_does_not_count_as_fast(clock, capsys):
    reporter = LineReporter()
    reporter.progress("train", 1000, 1200)  # resumed from a checkpoint
    clock.now += 10
    reporter.progress("train", 1100, 1200)
    # 100 in 10 s is 10/s; the other 100 take 10 s
    assert lines(capsys) == ["  train: 1,100/1,200, 10.0/s, 10 s left, 10 s"]


def test_an_unknown_total_has_no_remaining_time(clock, capsys):
    reporter = LineReporter()
    reporter.progress("preprocess", 0, None)
    clock.now += 5
    reporter.progress("preprocess", 50, None)
    assert lines(capsys) == ["  preprocess: 50, 10.0/s, 5 s"]


def test_another_description_starts_another_clock(clock, capsys):
    reporter = LineReporter()
    reporter.progress("one", 0, 10)
    clock.now += 60
    reporter.progress("two", 1, 10)
    assert lines(capsys) == []


def test_a_message_is_a_line(capsys):
    LineReporter().message("[1/6] preprocess")
    assert lines(capsys) == ["[1/6] preprocess"]


def test_no_bar_where_nobody_looks():
    assert isinstance(make_reporter(), LineReporter)


def test_the_bar_of_a_terminal_shows_where_it_is(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    reporter = make_reporter()
    assert isinstance(reporter, TerminalReporter)
    reporter.message("[1/6] train")
    reporter.progress("train", 1, 4, "loss 2.0")
    reporter.progress("train", 4, 4, "loss 1.0")
    reporter.message("done [sic]")
    assert "[1/6] train" in screen.getvalue()
    assert "4/4" in screen.getvalue()
    assert "loss 1.0" in screen.getvalue()
    assert "done [sic]" in screen.getvalue(), "brackets are words, not markup"
