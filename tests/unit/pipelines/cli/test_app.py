"""Errors as one line and an exit code, usage, help."""

import errno

import pytest

from pipelines.cli import arguments
from tfrs_twotower.errors import ConfigError, UnsupportedEnvironment, WorkdirError

COMMANDS = (
    *("demo", "init", "dataset", "import-embeddings", "files", "doctor", "build-ops"),
    *("run", "preprocess", "train", "embed", "build-index"),
    *("mine", "train-pre-ranker", "export", "evaluate", "compare", "tune"),
    *("query", "preflight", "refresh", "rollback", "versions", "verify"),
    *("serve", "recall-check", "load-test", "tfx"),
)


def failing(error):
    def make_context(*_, **__):
        raise error

    return make_context


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("a.yaml: no"), 1, "twotower: a.yaml: no\n"),
        (UnsupportedEnvironment("no AVX2"), 2, "twotower: no AVX2\n"),
        (WorkdirError("w: in use"), 2, "twotower: w: in use\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "w/model"),
            2,
            "twotower: w/model: No space left on device. Free some space there, then run the same "
            "command again: what is finished is kept.\n",
        ),
        (OSError("half a sentence"), 2, "twotower: half a sentence. `--debug` shows where.\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(monkeypatch, call, error, code, line):
    monkeypatch.setattr(arguments, "make_context", failing(error))
    result = call("run", "a.yaml", "--workdir", "w")
    assert (result.code, result.err, result.out) == (code, line, "")
    shown = call("run", "--debug", "a.yaml", "--workdir", "w")
    assert shown.code == code
    assert "Traceback (most recent call last)" in shown.err
    assert "failing" in shown.err or "make_context" in shown.err


def test_debug_after_two_dashes_is_beams(monkeypatch, call):
    given = []

    def make_context(run, workdir, overrides, beam_options, **_):
        given.extend(beam_options)
        raise ConfigError("enough")

    monkeypatch.setattr(arguments, "make_context", make_context)
    result = call("run", "a.yaml", "--workdir", "w", "--", "--debug", "--runner=X")
    assert given == ["--debug", "--runner=X"]
    assert result.err == "twotower: enough\n"


def test_a_home_directory_that_no_shell_replaced(monkeypatch, call):
    given = []

    def make_context(run, workdir, overrides, beam_options, **_):
        given.extend([str(run), str(workdir), *overrides, *beam_options])
        raise ConfigError("enough")

    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr(arguments, "make_context", make_context)
    call("run", "~/a.yaml", "--workdir=~/w", "--set", "~a=~/b", "--", "--temp_location=~/c")
    assert given == ["/home/ada/a.yaml", "/home/ada/w", "~a=~/b", "--temp_location=~/c"]
    given.clear()
    call("run", "./~/a.yaml", "--workdir", "w~", "--set=name=~/b")
    assert given == ["~/a.yaml", "w~", "name=~/b"]


def test_a_mistake_of_the_programmer_keeps_its_traceback(monkeypatch, call):
    monkeypatch.setattr(arguments, "make_context", failing(ValueError("a bug")))
    with pytest.raises(ValueError, match="a bug"):
        call("run", "a.yaml", "--workdir", "w")


def test_an_interrupted_run_says_that_it_can_go_on(monkeypatch, call):
    monkeypatch.setattr(arguments, "make_context", failing(KeyboardInterrupt()))
    result = call("run", "a.yaml", "--workdir", "w")
    assert result.code == 130
    assert "the same command continues where it stopped" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnu", "a.yaml"), "No such command 'rnu'"),
        (("run",), "Missing argument 'RUN_CONFIG'"),
        (("run", "a.yaml"), "Missing option '--workdir'"),
        (("run", "a.yaml", "--workdri", "w"), "No such option: --workdri"),
        (
            ("run", "a.yaml", "-w", "w", "--from", "embd"),
            "'embd' is not a stage (did you mean 'embed'?)",
        ),
        (("run", "a.yaml", "-w", "w", "--from", "export", "--to", "train"), "'export' after"),
        (("init", "--interactions", "a.csv"), "Missing option '--candidates'"),
    ],
)
def test_wrong_usage_exits_with_2(call, arguments, message):
    result = call(*arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dataset", "movilens-100k"), "(did you mean 'movielens-100k'?)"),
        (("run", "nothing.yaml", "-w", "w"), "nothing.yaml: there is no such file"),
        (("init", "--interactions", "a.csv", "--candidates", "b.csv"), "a.csv: there is no such"),
    ],
)
def test_what_the_user_named_wrongly_exits_with_1(call, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.code == 1
    assert message in result.err
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "a refused command leaves nothing behind"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(call, command):
    result = call(command, "--help")
    assert result.code == 0
    assert "Usage: twotower" in result.out


def test_the_list_of_commands_is_complete_and_not_cut_off(call):
    result = call("--help")
    listed = result.out.partition("Commands:")[2]
    assert [line.split()[0] for line in listed.strip().splitlines()] == list(COMMANDS)
    assert "..." not in listed


def test_version(call):
    from tfrs_twotower import __version__

    assert call("--version").out == f"twotower {__version__}\n"
