import numpy as np
import pytest

from tfrs_twotower.data.negative_lists import create_negative_lists, load_negative_lists
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact


@pytest.mark.parametrize("with_teacher", [True, False])
def test_what_was_filled_in_is_read(tmp_path, with_teacher):
    lists = create_negative_lists(tmp_path, "fit", 3, 2, with_teacher=with_teacher)
    lists.rows[1:] = [[5, 4], [3, -1]]
    lists.scores[2] = [0.5, 0.25, 0.0]
    del lists
    read = load_negative_lists(tmp_path, "fit")
    assert len(read) == 3
    np.testing.assert_array_equal(read.rows, [[0, 0], [5, 4], [3, -1]])
    np.testing.assert_array_equal(read.scores, [[0, 0, 0], [0, 0, 0], [0.5, 0.25, 0]])
    assert (read.rows.dtype, read.scores.dtype) == (np.int32, np.float32)
    assert (read.teacher is not None) == with_teacher
    assert not read.rows.flags.writeable


def test_a_phase_that_was_not_mined(tmp_path):
    create_negative_lists(tmp_path, "fit", 3, 2, with_teacher=False)
    with pytest.raises(MissingArtifact, match="no lists of the phase 'refit'; run `twotower mine`"):
        load_negative_lists(tmp_path, "refit")


def test_damaged_files_are_named(tmp_path):
    create_negative_lists(tmp_path, "fit", 3, 2, with_teacher=False)
    np.save(tmp_path / "fit-scores.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(CorruptArtifact, match=r"'fit' are not of shape \(3, 3\)"):
        load_negative_lists(tmp_path, "fit")
    (tmp_path / "fit-scores.npy").write_bytes(b"torn")
    with pytest.raises(CorruptArtifact, match=r"fit-scores\.npy: cannot be read"):
        load_negative_lists(tmp_path, "fit")
