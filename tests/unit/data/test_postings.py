from dataclasses import fields, replace

import numpy as np
import pytest

from tfrs_twotower.data.postings import Postings, Statistics, as_shards
from tfrs_twotower.data.stored_postings import POSTINGS_NAME, load_postings, save_postings
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
    save_postings(POSTINGS, tmp_path)
    again = load_postings(tmp_path, "Do it again.")
    for field in fields(Postings):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(POSTINGS, field.name))
    first = (tmp_path / POSTINGS_NAME).read_bytes()
    save_postings(again, tmp_path)
    assert (tmp_path / POSTINGS_NAME).read_bytes() == first


def test_part_of_the_candidates_keeps_their_counts():
    part = POSTINGS.take(np.array([2, 1]))
    assert part.rows.tolist() == [0, 0]
    assert part.counts.tolist() == [1, 3]
    assert part.frequencies.tolist() == [1, 1]
    assert part.num_candidates == 2


def test_shards_know_the_whole_corpus(tmp_path):
    """Of three candidates two have a cat; four counts of six in all are those of row 2."""
    parts = [POSTINGS.shard(np.array([0, 1])), POSTINGS.shard(np.array([2]))]
    for part, impacts in zip(parts, ([POSTINGS.impacts[0]], POSTINGS.impacts[1:]), strict=True):
        np.testing.assert_allclose(part.impacts, impacts, rtol=1e-6)
        np.testing.assert_allclose(part.rarities, np.log1p([1.5 / 2.5, 2.5 / 1.5]), rtol=1e-6)
    joined = as_shards([replace(part, whole=None) for part in parts])
    for part, again in zip(parts, joined, strict=True):
        assert again.whole.num_candidates == 3
        assert again.whole.total_length == 6
        assert again.whole.frequencies.tolist() == [2, 1]
        np.testing.assert_array_equal(again.impacts, part.impacts)
    save_postings(parts[1], tmp_path)
    loaded = load_postings(tmp_path, "Do it again.")
    np.testing.assert_array_equal(loaded.impacts, parts[1].impacts)
    assert loaded.take(np.array([0])).whole is None


def test_terms_of_one_shard_only_are_counted():
    other = replace(POSTINGS, terms=["ape", "dog"])
    first, second = as_shards([POSTINGS, other])
    assert (first.whole.num_candidates, first.whole.total_length) == (6, 12)
    assert first.whole.frequencies.tolist() == [2, 2], "cat, dog"
    assert second.whole.frequencies.tolist() == [2, 2], "ape, dog"


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
        {"whole": Statistics(2, 6.0, np.array([2, 1]))},
        {"whole": Statistics(3, 6.0, np.array([1, 1]))},
        {"whole": Statistics(3, 6.0, np.array([4, 1]))},
        {"whole": Statistics(3, 6.0, np.array([2, 1, 1]))},
    ],
    ids=str,
)
def test_postings_that_do_not_fit_together_are_refused(change, tmp_path):
    save_postings(replace(POSTINGS, **change), tmp_path)
    with pytest.raises(CorruptArtifact, match=r"postings\.npz: its .* do not fit together"):
        load_postings(tmp_path, "Do it again.")


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(MissingArtifact, match=r"postings\.npz: is missing"):
        load_postings(tmp_path, "Do it again.")
    (tmp_path / POSTINGS_NAME).write_bytes(b"nothing")
    with pytest.raises(CorruptArtifact, match=r"postings\.npz: cannot be read"):
        load_postings(tmp_path, "Do it again.")
