import numpy as np
import pytest

from serving.bundle.loading import load_bundle
from serving.bundle.measures import bundle_agreement
from serving.bundle.parity import check_embeddings
from tests.unit.serving import fakes
from tfrs_twotower.errors import BundleError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return fakes.write_fake_bundle(tmp_path_factory.mktemp("b") / "shop").directory.parent


def test_equal_vectors_pass_and_others_do_not(bundle):
    model = load_bundle(bundle)
    raw = {"item_id": ["a", "b"], "price": [3.0, 4.0]}
    assert check_embeddings(model, "candidate_embedding", raw, fakes.VECTORS[3:5]) == 0.0
    with pytest.raises(BundleError, match=r"differs from the offline .* \(allowed 1e-05"):
        check_embeddings(model, "candidate_embedding", raw, fakes.VECTORS[3:5] + 1e-3)
    with pytest.raises(BundleError, match="by nan"):
        check_embeddings(model, "candidate_embedding", raw, fakes.VECTORS[3:5] * np.nan)


def test_agreement_of_two_bundles(bundle, tmp_path):
    pytest.importorskip("scann")
    other = fakes.write_fake_bundle(tmp_path / "fast", "scann").directory
    queries = fakes.requests(20, [])
    del queries["exclude_ids"]
    queries = {name: np.asarray(values) for name, values in queries.items()}
    assert bundle_agreement(other, bundle, queries) == 1.0
