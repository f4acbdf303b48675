import pytest

from tfrs_twotower.data.first_fit import FirstFitRecall
from tfrs_twotower.errors import CorruptArtifact


def test_what_is_written_is_read(tmp_path):
    assert FirstFitRecall.read(tmp_path) is None
    FirstFitRecall(12, (0.25, 0.5)).write(tmp_path)
    found = FirstFitRecall.read(tmp_path)
    assert found == FirstFitRecall(12, (0.25, 0.5))
    assert [found.at(k) for k in (1, 2, 3)] == [(1, 0.25), (2, 0.5), (2, 0.5)]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"recall": [0.5]}', '{"num_queries": 1, "recall": 2}']
)
def test_something_else_is_refused(tmp_path, text):
    (tmp_path / "first_fit_recall.json").write_text(text)
    with pytest.raises(
        CorruptArtifact, match=r"first_fit_recall\.json: cannot be read.*Train again"
    ):
        FirstFitRecall.read(tmp_path)
