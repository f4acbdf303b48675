import hashlib

from pydantic import BaseModel

from tfrs_twotower.artifacts import fingerprint, sha256_file


class Document(BaseModel):
    b: int = 1
    a: str = "ä"


def test_order_of_keys_does_not_matter():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


def test_a_document_is_its_values():
    assert fingerprint(Document()) == fingerprint({"a": "ä", "b": 1})


def test_is_the_hash_of_canonical_json():
    expected = hashlib.sha256(b'{"a":"\\u00e4","b":1}').hexdigest()[:16]
    assert fingerprint(Document()) == expected


def test_a_file_longer_than_one_read(tmp_path):
    content = b"x" * ((1 << 20) + 1)
    (tmp_path / "f").write_bytes(content)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(content).hexdigest()
