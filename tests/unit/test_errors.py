"""Failures of the operating system, recognised in what libraries make of them."""

import errno
import os

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipelines.progress import SilentReporter
from pipelines.transforms.beam_job import run_pipeline
from tfrs_twotower.errors import (
    BundleError,
    CorruptArtifact,
    DataError,
    SystemFailure,
    as_system_failure,
)


def in_a_worker(number, path=None):
    def work(_):
        raise OSError(number, os.strerror(number), path)

    run_pipeline(lambda p: p | beam.Create([1]) | beam.Map(work), (), SilentReporter(), "work")


def save_checkpoint():
    operation = "{{function_node __wrapped__SaveV2_dtypes_46_device_/job:localhost/device:CPU:0}}"
    text = f"{operation} /w/ckpt-4_temp/part-0; No space left on device [Op:SaveV2]"
    raise tf.errors.ResourceExhaustedError(None, None, text)


def save_array(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(1_000_000))


def write_parquet(path):
    with open(path, "wb") as file:  # by a path, pyarrow would remove the device
        pq.write_table(pa.table({"numbers": np.arange(1_000_000)}), file)


def write_with_tensorflow(path):
    with tf.io.gfile.GFile(path, "w") as file:
        file.write("much" * 100_000)


def read_with_tensorflow(path):
    list(tf.data.TFRecordDataset(path))


FULL = "/dev/full"


@pytest.mark.parametrize(
    ("fail", "place", "words"),
    [
        (lambda: in_a_worker(errno.ENOSPC), "w/x", "No space left on device. Free some space"),
        (lambda: in_a_worker(errno.EDQUOT, "/d/a b"), "/d/a", "Disk quota exceeded. Free some"),
        (lambda: in_a_worker(errno.EACCES, "/d/a.csv"), "/d/a.csv", "Permission denied. Give"),
        (lambda: in_a_worker(errno.EROFS, "/d"), "/d", "Read-only file system. Name a place"),
        (lambda: in_a_worker(errno.EMFILE), "w/x", "Too many open files. Raise the limit (`ulimit"),
        (lambda: in_a_worker(errno.ENOENT, "/d/a"), "/d/a", "No such file or directory. Look"),
        (lambda: write_with_tensorflow(FULL), FULL, "No space left on device."),
        (lambda: read_with_tensorflow("/gone/a"), "/gone/a", "No such file or directory."),
        (save_checkpoint, "/w/ckpt-4_temp/part-0", "No space left on device."),
        (lambda: save_array(FULL), "w/x", "No space left on device."),
        (lambda: write_parquet(FULL), "w/x", "No space left on device."),
        (lambda: np.zeros(1 << 46), "Unable to allocate", "Cannot allocate memory. End other"),
    ],
)
def test_a_failure_of_the_system_is_one_sentence(fail, place, words):
    with pytest.raises(Exception) as caught:  # noqa: PT011  (every library raises another)
        fail()
    failure = as_system_failure(caught.value, "w/x")
    assert isinstance(failure, SystemFailure)
    assert str(failure).startswith(place), str(failure)
    assert f": {words}" in str(failure)
    assert "\n" not in str(failure)


def memory_of_a_gpu():
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor of shape [9]")


def test_memory_that_tensorflow_lacks():
    with pytest.raises(tf.errors.ResourceExhaustedError) as caught:
        memory_of_a_gpu()
    assert str(as_system_failure(caught.value)).startswith("Cannot allocate memory. End other")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug that quotes [Errno 28] No space left on device"),
        KeyError("Permission denied"),
        tf.errors.InvalidArgumentError(None, None, "shapes differ"),
        DataError("events.csv: the column 'user' is missing"),
        OSError("no number"),
    ],
)
def test_other_errors_are_left_alone(error):
    assert as_system_failure(error) is None


def caused_by(error, number):
    error.__cause__ = OSError(number, os.strerror(number), "/w/model/a")
    return error


def test_an_own_error_gives_way_to_a_cause_that_no_input_can_have():
    damaged = caused_by(CorruptArtifact("w/model/a: is damaged. Train again."), errno.EMFILE)
    assert str(as_system_failure(damaged)).startswith("/w/model/a: Too many open files. Raise")
    assert as_system_failure(caused_by(BundleError("no bundle"), errno.ENOENT)) is None
    assert as_system_failure(caused_by(DataError("cannot be read"), errno.EACCES)) is None
