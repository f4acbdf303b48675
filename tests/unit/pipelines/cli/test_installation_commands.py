"""What `files` and `doctor` print."""

import json

from pipelines import doctor


def test_the_line_that_installs_is_printed(call, monkeypatch):
    made = [
        doctor.Finding("extra [x], for nothing", True, "not installed", to_get="`pip install x`"),
        doctor.Finding("extra [y], for nothing", True, "installed"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: made)
    assert call("doctor").out == (
        "--    extra [x], for nothing: not installed\n"
        "      to get it: `pip install x`\n"
        "ok    extra [y], for nothing: installed\n"
    )


def test_doctor_prints_each_finding_before_it_looks_further(call, monkeypatch, capsys):
    """The last ones load TensorFlow, and whoever waits should see what is known."""
    seen = []

    def examine():
        yield doctor.Finding("Python", True, "3.11")
        seen.append(capsys.readouterr().out)
        yield doctor.Finding("TensorFlow", False, "cannot be loaded", "install it again")

    monkeypatch.setattr(doctor, "examine", examine)
    assert call("doctor").code == 2
    assert seen == ["ok    Python: 3.11\n"]


def test_files_are_listed_or_copied(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = call("files", "medquad").out.split()
    assert "pipelines/configs/medquad.yaml" in listed
    assert list(tmp_path.iterdir()) == []
    copied = json.loads(call("files", "medquad", "--out", "here", "--json").out)["files"]
    assert copied == [f"here/{path}" for path in listed]
    assert (tmp_path / "here" / "feature_specs" / "medquad.yaml").is_file()
    assert call("files", "medquad", "nothing_like_it").code == 1
