from dataclasses import fields, replace

import numpy as np
import pytest

from tfrs_twotower.data.postings import POSTINGS_NAME, Postings, load_postings
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact

POSTINGS = Postings(
    ["cat", "dog"],
    ["cat", "cats", "dogs"],
    np.array([0, 0, 1], np.int32),
    np.array([0, 2, 3]),
    np.array([0, 2, 2], np.int32),
    np.array([2, 1, 3], np.float32),
    3,
)


def test_postings_come_back(tmp_path):
    POSTINGS.save(tmp_path)
    again = load_postings(tmp_path, "Do it again.")
    for field in fields(Postings):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(POSTINGS, field.name))
    first = (tmp_path / POSTINGS_NAME).read_bytes()
    again.save(tmp_path)
    assert (tmp_path / POSTINGS_NAME).read_bytes() == first


def test_part_of_the_candidates_keeps_their_counts():
    part = POSTINGS.take(np.array([2, 1]))
    assert part.rows.tolist() == [0, 0]
    assert part.counts.tolist() == [1, 3]
    assert part.frequencies.tolist() == [1, 1]
    assert part.num_candidates == 2


@pytest.mark.parametrize(
    "change",
    [
        {"rows": np.array([0, 2, 3], np.int32)},
        {"rows": np.array([0, -1, 2], np.int32)},
        {"starts": np.array([0, 3])},
        {"starts": np.array([0, 4, 3])},
        {"starts": np.array([1, 2, 3])},
        {"counts": np.array([2, 1], np.float32)},
        {"counts": np.array([2, 0, 1], np.float32)},
        {"term_of_word": np.array([0, 0, 2], np.int32)},
        {"words": ["cat", "dogs"]},
        {"words": ["cat", "cat", "dogs"]},
    ],
    ids=str,
)
def test_postings_that_do_not_fit_together_are_refused(change, tmp_path):
    replace(POSTINGS, **change).save(tmp_path)
    with pytest.raises(CorruptArtifact, match=r"postings\.npz: its .* do not fit together"):
        load_postings(tmp_path, "Do it again.")


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(MissingArtifact, match=r"postings\.npz: is missing"):
        load_postings(tmp_path, "Do it again.")
    (tmp_path / POSTINGS_NAME).write_bytes(b"nothing")
    with pytest.raises(CorruptArtifact, match=r"postings\.npz: cannot be read"):
        load_postings(tmp_path, "Do it again.")
