import io
import zipfile

import numpy as np
import pytest

from tests.fixtures.tiny_checkpoint import write_checkpoint
from tfrs_twotower.data.stored_arrays import load_array, load_arrays
from tfrs_twotower.errors import CorruptArtifact, FeatureSpecError
from tfrs_twotower.layers.checkpoint import read_safetensors
from tfrs_twotower.towers.storage import read_array, read_weights

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
HUGE = (10**12, 64)


def npy(array, shape=None):
    """The bytes of a file; with another shape in its header than it holds."""
    stream = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(stream, {**header, "shape": shape or array.shape})
    return stream.getvalue() + array.tobytes()


def npz(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def written(path, content):
    path.write_bytes(content)
    return path


def test_what_was_saved_comes_back(tmp_path):
    np.testing.assert_array_equal(load_array(written(tmp_path / "a", npy(VALUES))), VALUES)
    np.savez(tmp_path / "b.npz", first=VALUES, none=VALUES[:0], words=np.array(["a", "bc"]))
    arrays = load_arrays(tmp_path / "b.npz")
    np.testing.assert_array_equal(arrays["first"], VALUES)
    assert (arrays["none"].shape, arrays["words"].tolist()) == ((0, 4), ["a", "bc"])


def test_a_header_that_claims_terabytes_is_refused_before_they_are_allocated(tmp_path):
    claims = r"its header claims float32 of shape \(1000000000000, 64\), 256,000,000,000,000 bytes"
    alone = written(tmp_path / "a.npy", npy(VALUES, HUGE))
    with pytest.raises(ValueError, match=claims):
        load_array(alone)
    with pytest.raises(CorruptArtifact, match=claims):
        read_array(alone, (None, 64))
    packed = npz(tmp_path / "b.npz", good=npy(VALUES), huge=npy(VALUES, HUGE))
    with pytest.raises(ValueError, match=claims):
        load_arrays(packed)
    with pytest.raises(CorruptArtifact, match=claims):
        read_weights(packed)


def test_safetensors_are_held_to_their_size_as_well(tmp_path):
    write_checkpoint(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"shape": [12, 12]', b'"shape":[9999999]', 1))
    with pytest.raises(FeatureSpecError, match="cannot be read as safetensors"):
        read_safetensors(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY\x01\x00", npy(VALUES)[:-1]])
def test_what_is_cut_short_is_refused(tmp_path, content):
    path = written(tmp_path / "a", content)
    for load in (load_array, load_arrays):
        with pytest.raises(ValueError):  # noqa: PT011  (each says in what way)
            load(path)


def test_objects_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        load_array(path)
