"""Small inputs that once failed: `python -m tests.small_inputs FOLDER [--only NAME]` runs them.

Each case is a directory with tables, `spec.yaml` and `run.yaml`. The folder is kept apart from the
repository; what is expected of a case stands here under its name. Every case is copied first, so
that the folder stays as it is. The kinds of fault behind the cases have tests of
their own in the rooms where they occurred.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

COMMAND = (sys.executable, "-m", "tfrs_twotower")


class Case:
    """A copy of a case's folder, and the commands that a check runs in it."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.source = folder
        self.folder = scratch / folder.name
        shutil.copytree(folder, self.folder)
        self.workdir = self.folder / "workdir"

    def twotower(self, *arguments: object, **environment: str) -> tuple[int, str]:
        """Runs a command in the case's folder; returns its exit code and all that it printed."""
        result = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "COLUMNS": "400", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return result.returncode, " ".join(result.stdout.decode(errors="replace").split())

    def preprocess(self) -> tuple[int, str]:
        """Runs the first stage."""
        return self.twotower("preprocess", "run.yaml", "--workdir", self.workdir)

    def run(self, *arguments: object) -> tuple[int, str]:
        """Runs all stages."""
        return self.twotower("run", "run.yaml", "--workdir", self.workdir, *arguments)

    def statistics(self) -> dict[str, object]:
        """What preprocess counted."""
        return json.loads((self.workdir / "preprocessed" / "statistics.json").read_text())


def _is(condition: bool, said: str) -> None:
    if not condition:
        raise AssertionError(said[-1500:])


def stray_quote(case: Case) -> None:
    """All events are read, or the run is refused at the line where the open field began."""
    code, said = case.preprocess()
    if code == 0:
        _is(sum(case.statistics()["events"].values()) == 400, str(case.statistics()["events"]))
    else:
        _is(code == 1 and "events.csv:201" in said and "note" in said, said)


def line_break_in_a_category(case: Case) -> None:
    """The value is one value of the vocabulary, or preprocess refuses it with the reason."""
    code, said = case.run()
    if code == 0:
        known = (case.workdir / "preprocessed" / "vocabularies" / "genres.txt").read_text()
        _is("Garden" not in known.splitlines() and "rock" not in known.splitlines()[4:], known)
    else:
        _is(code == 1 and "line break" in said and "genres" in said, said)
        _is(not (case.workdir / "model").exists(), "refused after training: " + said)


def list_as_text(case: Case) -> None:
    """Lists written as text are read as lists or named, and `init` writes the option."""
    code, said = case.preprocess()
    _is("genres" in said and ("list" in said), said)
    for items in ("items.csv", "items_jsonlist.csv", "items_nplist.csv", "items_pglist.csv"):
        out = case.folder / f"init_{items}"
        code, said = case.twotower(
            *("init", "--interactions", "data/events.csv", "--candidates", f"data/{items}"),
            *("--out", out, "--name", "x"),
        )
        _is(code == 0, said)
        workdir = out / "workdir"
        code, said = case.twotower("preprocess", out / "x_run.yaml", "--workdir", workdir)
        _is(code == 0, said)
        known = (workdir / "preprocessed" / "vocabularies" / "genres.txt").read_text().split("\n")
        _is({"rock", "all"} <= set(known), f"{items}: {known}")


def duplicate_column(case: Case) -> None:
    """A name that stands twice in a header is refused."""
    code, said = case.preprocess()
    _is(code == 1 and "user" in said and "twice" in said, said)


def date_before_1970(case: Case) -> None:
    """A date of 1950 has its month and weekday."""
    code, said = case.preprocess()
    _is(code == 0, said)


def tsv_with_quotes(case: Case) -> None:
    """Quotes of a TSV are its form and no part of its values."""
    code, said = case.preprocess()
    _is(code == 0, said)
    titles = [
        path.read_bytes() for path in (case.workdir / "preprocessed").rglob("*") if path.is_file()
    ]
    _is(not any(b'"The ""best' in found for found in titles), "quotes are part of the title")


def header_but_no_record(case: Case) -> None:
    """Blank lines and carriage returns make no difference."""
    examples = set()
    for form in ("blank-first", "blank-second", "cr"):
        shutil.copy(case.folder / "data" / f"{form}.csv", case.folder / "data" / "events.csv")
        shutil.rmtree(case.workdir, ignore_errors=True)
        code, said = case.preprocess()
        _is(code == 0, f"{form}: {said}")
        examples.add(json.dumps(case.statistics()["events"], sort_keys=True))
    _is(len(examples) == 1, str(examples))


def tied_scores(case: Case) -> None:
    """Any of tied candidates is right, so the index is accepted."""
    code, said = case.run()
    _is(code == 0, said)
    code, said = case.run("--set", "index.num_leaves=4", "--set", "index.num_leaves_to_search=4")
    _is(code == 0, said)


def no_test_split(case: Case) -> None:
    """A model for production: a bundle and no report, or a refusal before training."""
    code, said = case.run()
    if code == 0:
        _is(any((case.workdir / "bundle" / "tiny").glob("*/saved_model.pb")), said)
        _is("test" in said, said)
    else:
        _is(not (case.workdir / "model").exists(), "refused after training: " + said)


def disk_full(case: Case) -> None:
    """A full disk is one sentence and exit 2 at every stage, and going on later works."""
    disk = case.folder / "disk"
    disk.mkdir()
    for size in ("24k", "80k", "160k", "300k"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
        try:
            code, said = case.twotower("run", "run.yaml", "--workdir", disk / "workdir")
        finally:
            subprocess.run(["umount", disk], check=True)
        _is(
            code == 2 and "No space left on device" in said and "Traceback" not in said,
            f"{size}: {code} {said}",
        )


def lone_surrogate(case: Case) -> None:
    """Half of a surrogate pair is quarantined or replaced."""
    code, said = case.preprocess()
    _is(code == 0 and "Traceback" not in said, said)


def cause_before_consequence(case: Case) -> None:
    """The message is about the price of the candidates."""
    code, said = case.preprocess()
    _is(code == 1 and "candidates" in said and "price" in said and "5,5" in said, said)
    _is("unknown candidate" not in said, said)


def float_ids(case: Case) -> None:
    """'2.0' beside '2' is named."""
    _, said = case.preprocess()
    _is("'0.0' in interactions is '0' in candidates" in said and "pandas" in said, said)


def parquet_directories(case: Case) -> None:
    """A directory as Spark writes it is read."""
    code, said = case.preprocess()
    _is(code == 0, said)


def _tiny_bundle(case: Case, tables: Path) -> Path:
    shutil.copytree(tables, case.folder, dirs_exist_ok=True)
    code, said = case.run()
    _is(code == 0, said)
    return case.workdir / "bundle" / "tiny"


def ascii_terminal(case: Case) -> None:
    """A terminal that knows ASCII only gets replacement characters or a sentence."""
    bundle = _tiny_bundle(case, case.source.parent / "25-accents-and-dakuten")
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    _, said = case.twotower("query", bundle, "--k", 3, PYTHONIOENCODING="ascii", **ascii_only)
    _is("Traceback" not in said, said)
    _, said = case.twotower("query", bundle, "--set", "qtext=日本語の商品", "--k", 3, **ascii_only)
    _is("Traceback" not in said and "UnicodeEncodeError" not in said, said)


def plain_tensorflow(case: Case) -> None:
    """`preflight` names the import that one's own process needs, and with it a bundle loads."""
    bundle = _tiny_bundle(case, case.source.parent / "25-accents-and-dakuten")
    version = next(path for path in bundle.iterdir() if path.name.isdigit())
    code, said = case.twotower("preflight", version)
    _is(code == 0 and "tensorflow_text" in said, said)
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import tensorflow_text, tensorflow as tf; tf.saved_model.load({str(version)!r})",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    _is(loaded.returncode == 0, loaded.stderr)


def accents(case: Case) -> None:
    """`init` keeps accents where it sees them, and words that differ by one find their own."""
    code, said = case.twotower(
        *("init", "--interactions", "data/events.csv", "--candidates", "data/items.csv"),
        *("--queries", "data/queries.csv", "--out", case.folder / "init", "--name", "x"),
    )
    _is(code == 0, said)
    written = (case.folder / "init" / "x.yaml").read_text()
    _is("keep_accents: true" in written or "lower_case: false" in written, written)
    spec = case.folder / "spec.yaml"
    kept = spec.read_text().replace("lower_case: true", "lower_case: true\n    keep_accents: true")
    spec.write_text(kept)
    code, said = case.run()
    _is(code == 0, said)
    words = {"パンダ": "0000", "ハンダ": "0001", "hacía": "0004", "hacia": "0005"}
    for text, wanted in {**words, "müssten": "0006", "mussten": "0007"}.items():
        code, said = case.twotower(
            *("query", case.workdir / "bundle" / "tiny"),
            *("--set", f"qtext={text}", "--k", 1, "--json"),
        )
        _is(code == 0 and f'"{wanted}"' in said, f"{text}: {said}")


def replicas_on_cpu(case: Case) -> None:
    """Two replicas train on a divided CPU."""
    _is(case.preprocess()[0] == 0, "preprocess failed")
    code, said = case.twotower(
        "train", "run.yaml", "--workdir", case.workdir, "--set", "training.replicas=2"
    )
    _is(code == 0, said)


CASES: dict[str, Callable[[Case], None]] = {
    "01-stray-quote": stray_quote,
    "02-newline-in-value-silent": line_break_in_a_category,
    "03-newline-in-value-crash": line_break_in_a_category,
    "05-list-as-text": list_as_text,
    "06-duplicate-column-name": duplicate_column,
    "07-date-before-1970": date_before_1970,
    "09-tsv-with-quotes": tsv_with_quotes,
    "11-header-but-no-record": header_but_no_record,
    "12-ties-refuse-index": tied_scores,
    "13-no-test-split": no_test_split,
    "14-disk-full": disk_full,
    "15-lone-surrogate-in-json": lone_surrogate,
    "17-cause-hidden-behind-unknown-candidate": cause_before_consequence,
    "19-float-ids": float_ids,
    "21-parquet-directories": parquet_directories,
    "23-ascii-terminal": ascii_terminal,
    "24-plain-tensorflow": plain_tensorflow,
    "25-accents-and-dakuten": accents,
    "27-replicas-on-cpu": replicas_on_cpu,
}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Runs the cases of a folder and prints one line each."""
    parser = argparse.ArgumentParser(description="Run a folder of small inputs that once failed.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    arguments = parser.parse_args()
    failed = []
    names = [name for name in sorted(CASES) if arguments.only in name]
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                CASES[name](Case(arguments.folder / name, Path(scratch)))
                _say(f"passed  {name}")
            except AssertionError as problem:
                failed.append(name)
                _say(f"FAILED  {name}: {problem}")
    missing = {path.name for path in arguments.folder.iterdir() if path.is_dir()} - set(CASES)
    _say(
        f"{len(names) - len(failed)} passed, {len(failed)} failed"
        + (f", no check: {sorted(missing)}" if missing else "")
    )
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
