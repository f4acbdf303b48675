import numpy as np
import pytest

from serving.bundle.server_files import batching_parameters
from serving.server.batches import join, split
from serving.server.batching_parameters import read_batching_parameters
from tfrs_twotower.errors import BundleError


def strings(*rows):
    return np.array([[name.encode() for name in row] for row in rows], object)


def test_a_request_is_padded_with_its_own_first_element():
    # Two requests of 1 and 2 rows, widths 3 and 1, filled up to 4 rows.
    first = {"x": strings("abc"), "n": np.array([1.0], np.float32)}
    second = {"x": strings("d", "e"), "n": np.array([2.0, 3.0], np.float32)}
    batch = join([first, second], 4)
    assert batch["x"].tolist() == strings("abc", "ddd", "edd", "ddd").tolist()
    assert batch["n"].tolist() == [1, 2, 3, 2]
    assert batch["n"].dtype == np.float32


def test_a_request_that_fits_is_left_alone():
    inputs = {"x": strings("ab")}
    assert join([inputs], 1)["x"] is inputs["x"]


def test_every_request_gets_its_rows():
    outputs = {"y": np.arange(10).reshape(5, 2)}
    parts = split(outputs, [1, 3])
    assert [part["y"].tolist() for part in parts] == [[[0, 1]], [[2, 3], [4, 5], [6, 7]]]


def test_parameters_that_are_exported_are_read(tmp_path):
    path = tmp_path / "batching_params.pbtxt"
    path.write_text(batching_parameters([1, 8, 64]))
    found = read_batching_parameters(tmp_path, num_threads=3)
    assert found.allowed_batch_sizes == (1, 8, 64)
    assert found.max_batch_size == 64
    assert found.timeout_s == 0.001
    assert found.num_threads == 3
    assert found.pad_widths
    assert [found.padded_rows(rows) for rows in (1, 2, 8, 9, 64)] == [1, 8, 8, 64, 64]
    path.write_text("num_batch_threads { value: 2 } max_batch_size { value: 4 }")
    found = read_batching_parameters(tmp_path, num_threads=3)
    assert (found.num_threads, found.allowed_batch_sizes, found.pad_widths) == (
        2,
        (1, 2, 3, 4),
        False,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch { value: 1 }", "no field named"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", r"found allowed_batch_sizes \[4\]"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [4, 4]", "must increase"),
    ],
)
def test_parameters_that_a_model_server_refuses(tmp_path, text, message):
    (tmp_path / "batching_params.pbtxt").write_text(text)
    with pytest.raises(BundleError, match=message):
        read_batching_parameters(tmp_path, num_threads=1)


def test_a_version_without_the_file_is_not_batched(tmp_path):
    assert read_batching_parameters(tmp_path, num_threads=1) is None
