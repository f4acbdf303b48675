import numpy as np
import tensorflow as tf

from tfrs_twotower.layers.seeded import TrainingDropout, WeightMaker


def test_values_depend_on_seed_and_name_only():
    first = WeightMaker(3).under("query")
    alone = first.normal("kernel", [4, 4], 1.0)
    other = WeightMaker(3)
    other.normal("something", [2, 2], 1.0)
    again = other.under("query").normal("kernel", [4, 4], 1.0)
    np.testing.assert_array_equal(alone, again)
    assert alone.name == "query.kernel:0"
    assert (first.normal("other", [4, 4], 1.0).numpy() != alone.numpy()).any()
    changed = WeightMaker(4).under("query").normal("kernel", [4, 4], 1.0)
    assert (changed.numpy() != alone.numpy()).any()


def test_deviation_and_zero_rows():
    values = WeightMaker(0).normal("table", [1000, 16], 0.05, zero_rows=2).numpy()
    assert not values[:2].any()
    assert abs(values[2:].std() - 0.05) < 0.001


def test_large_seed():
    WeightMaker(2**40 + 1).normal("kernel", [2], 1.0)


def test_rates():
    dropout = TrainingDropout(1, "query")
    ids = tf.fill([20_000], 7)
    unknown = np.mean(dropout.drop_ids(ids, 0.3) == 1)
    hidden = np.mean(dropout.drop_entries(ids, 0.25) == 0)
    # four standard deviations of a share of 20,000 draws
    assert abs(unknown - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 20_000)
    assert abs(hidden - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 20_000)


def test_padding_and_unknown_stay():
    ids = tf.constant([0, 1] * 100)
    np.testing.assert_array_equal(TrainingDropout(1, "query").drop_ids(ids, 0.9), ids)


def test_dropout_keeps_the_mean():
    values = TrainingDropout(1, "query").drop_activations(tf.ones([50_000]), 0.5).numpy()
    assert set(np.unique(values)) == {0.0, 2.0}
    assert abs(values.mean() - 1.0) < 4 * np.sqrt(1 / 50_000)


def test_same_seed_same_masks_and_another_name_others():
    def masks(seed, name):
        dropout = TrainingDropout(seed, name)
        return np.stack([dropout.keep_mask(tf.zeros([64]), 0.5) for _ in range(2)])

    np.testing.assert_array_equal(masks(1, "query"), masks(1, "query"))
    assert (masks(1, "query") != masks(1, "candidate")).any()
    assert (masks(1, "query") != masks(2, "query")).any()
    assert (masks(1, "query")[0] != masks(1, "query")[1]).any()


def test_a_checkpoint_continues_the_sequence(tmp_path):
    dropout = TrainingDropout(5, "query")
    dropout.keep_mask(tf.zeros([8]), 0.5)
    path = tf.train.Checkpoint(dropout=dropout).write(str(tmp_path / "state"))
    expected = dropout.keep_mask(tf.zeros([64]), 0.5)
    again = TrainingDropout(6, "query")
    tf.train.Checkpoint(dropout=again).read(path).assert_consumed()
    np.testing.assert_array_equal(again.keep_mask(tf.zeros([64]), 0.5), expected)


def test_rows_get_the_masks_that_the_whole_batch_would_give_them():
    dropout, values = TrainingDropout(1, "query"), tf.zeros([10, 6])
    state = dropout.state
    whole = [dropout.keep_mask(values, 0.5), dropout.noise([10, 3])]
    after = dropout.keep_mask(values, 0.5)
    parts = []
    for rows in (slice(0, 3), slice(3, 7), slice(7, 10)):
        with dropout.for_rows(rows, tf.constant(10), state):
            size = rows.stop - rows.start
            parts.append([dropout.keep_mask(values[rows], 0.5), dropout.noise([size, 3])])
    for place in (0, 1):
        joined = np.concatenate([part[place] for part in parts])
        np.testing.assert_array_equal(joined, whole[place])
    np.testing.assert_array_equal(dropout.keep_mask(values, 0.5), after)
