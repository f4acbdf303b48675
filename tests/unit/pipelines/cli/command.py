"""Runs `twotower` inside the test's process."""

from dataclasses import dataclass

from pipelines.cli.app import main


@dataclass
class Result:
    code: int
    out: str
    err: str


def twotower(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["twotower", *map(str, arguments)])
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    captured = capsys.readouterr()
    return Result(code, captured.out, captured.err)
