import numpy as np
import pytest

from tests.unit.training.toy import NUM_CANDIDATES, toy_table
from tfrs_twotower.data.negative_lists import create_negative_lists, load_negative_lists
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.training.training_data import ListedExamples, read_listed_examples

DEPTH, LIST_SIZE = 12, 5
TABLE = toy_table()


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """Lists of distinct rows, some of them short; a candidate's teacher score tells its row."""
    directory = tmp_path_factory.mktemp("negatives")
    lists = create_negative_lists(directory, "fit", len(TABLE), DEPTH, with_teacher=True)
    random = np.random.default_rng(0)
    for example, positive in enumerate(TABLE.candidate_rows):
        others = np.delete(np.arange(NUM_CANDIDATES), positive)
        rows = random.permutation(others)[:DEPTH].astype(np.int32)
        rows[random.integers(1, DEPTH + 1) if example % 3 else DEPTH :] = -1
        lists.rows[example] = rows
        lists.teacher[example] = np.concatenate([[positive], rows]) + 0.25
        lists.teacher[example, 1:][rows < 0] = 0.0
    for array in (lists.rows, lists.scores, lists.teacher):
        array.flush()
    return directory


def examples(mined, **changes):
    options = {"list_size": LIST_SIZE, "seed": 3, **changes}
    return read_listed_examples(mined, "fit", TABLE, **options)


POSITIONS = np.random.default_rng(5).permutation(len(TABLE))[:64]


def test_a_batch_is_that_of_the_table_with_lists(mined):
    listed = examples(mined)
    assert len(listed) == len(TABLE)
    batch = listed.batch(POSITIONS, 1)
    plain = TABLE.batch(POSITIONS, 1)
    assert set(batch) == {*plain, "listed_rows", "teacher"}
    np.testing.assert_array_equal(batch["candidate_rows"], plain["candidate_rows"])
    assert (batch["listed_rows"].shape, batch["listed_rows"].dtype) == ((64, LIST_SIZE), np.int32)
    assert (batch["teacher"].shape, batch["teacher"].dtype) == ((64, 1 + LIST_SIZE), np.float32)


def test_the_same_seed_and_step_draw_the_same_lists(mined):
    listed = examples(mined)

    def drawn(examples, step):
        return examples.batch(POSITIONS, step)["listed_rows"]

    np.testing.assert_array_equal(drawn(listed, 7), drawn(examples(mined), 7))
    assert (drawn(listed, 7) != drawn(listed, 8)).any()
    assert (drawn(listed, 7) != drawn(examples(mined, seed=4), 7)).any()


@pytest.mark.parametrize("step", range(1, 6))
def test_a_list_holds_distinct_candidates_mined_for_its_example(mined, step):
    everything = load_negative_lists(mined, "fit").rows
    drawn = examples(mined).batch(POSITIONS, step)["listed_rows"]
    for position, rows in zip(POSITIONS, drawn, strict=True):
        listed_rows = rows[rows >= 0]
        assert set(listed_rows) <= set(everything[position])
        assert len(set(listed_rows)) == len(listed_rows)
        # A short list is drawn as a whole, and only what is lacking is padding.
        assert len(listed_rows) == min(LIST_SIZE, (everything[position] >= 0).sum())


@pytest.mark.parametrize("step", range(1, 4))
def test_teacher_scores_belong_to_the_candidates_of_the_list(mined, step):
    batch = examples(mined).batch(POSITIONS, step)
    rows, teacher = batch["listed_rows"], batch["teacher"]
    np.testing.assert_array_equal(teacher[:, 0], TABLE.candidate_rows[POSITIONS] + 0.25)
    np.testing.assert_array_equal(teacher[:, 1:], np.where(rows >= 0, rows + 0.25, 0.0))


def test_every_mined_candidate_is_drawn_about_as_often(mined):
    listed = examples(mined)
    position = int(np.flatnonzero((listed.lists.rows >= 0).all(axis=1))[0])
    steps = 600
    drawn = np.concatenate(
        [listed.batch(np.array([position]), step)["listed_rows"][0] for step in range(steps)]
    )
    counts = np.array([(drawn == row).sum() for row in listed.lists.rows[position]])
    assert counts.sum() == steps * LIST_SIZE
    share = LIST_SIZE / DEPTH
    assert np.abs(counts - steps * share).max() < 5 * np.sqrt(steps * share * (1 - share))


def test_a_list_size_above_the_depth_takes_the_whole_list(mined):
    batch = examples(mined, list_size=40).batch(POSITIONS, 1)
    assert batch["listed_rows"].shape == (64, DEPTH)
    everything = load_negative_lists(mined, "fit").rows[POSITIONS]
    np.testing.assert_array_equal(np.sort(batch["listed_rows"]), np.sort(everything))


def test_without_a_teacher_the_batch_has_no_teacher_scores(mined):
    listed = examples(mined)
    bare = type(listed.lists)(listed.lists.rows, listed.lists.scores, None)
    batch = ListedExamples(TABLE, bare, LIST_SIZE, 3).batch(POSITIONS, 2)
    assert "teacher" not in batch
    np.testing.assert_array_equal(batch["listed_rows"], listed.batch(POSITIONS, 2)["listed_rows"])


def test_lists_of_another_set_are_refused(mined):
    with pytest.raises(CorruptArtifact, match=r"holds 400 lists for the phase 'fit', expected one"):
        read_listed_examples(mined, "fit", toy_table(repeats=2), list_size=5, seed=3)
    with pytest.raises(MissingArtifact, match="no lists of the phase 'refit'"):
        read_listed_examples(mined, "refit", TABLE, list_size=5, seed=3)
