import pytest

from serving.bundle.parts import check_descent
from tfrs_twotower.artifacts import Manifest
from tfrs_twotower.errors import BundleError


def manifest(kind, config="c", spec="s", **parents):
    return Manifest(
        kind=kind,
        spec_fingerprint=spec,
        config_fingerprint=config,
        parents=parents,
        counts={},
        files={},
        packages={},
    )


@pytest.fixture
def artifacts():
    """Model, embeddings and index of each other, and a pre-ranker of the same model."""
    model = manifest("model", preprocessed="p")
    embeddings = manifest("embeddings", preprocessed="p", model=model.fingerprint)
    return {
        "model": model,
        "embeddings": embeddings,
        "index": manifest("index", embeddings=embeddings.fingerprint),
        "pre_ranker": manifest("pre_ranker", preprocessed="p", model=model.fingerprint),
    }


def test_what_belongs_together(artifacts):
    fingerprints = check_descent(artifacts)
    assert fingerprints == {kind: manifest.fingerprint for kind, manifest in artifacts.items()}


@pytest.mark.parametrize(
    ("kind", "parent"),
    [("index", "embeddings"), ("embeddings", "model"), ("pre_ranker", "model")],
)
def test_a_part_of_another_one_is_refused(artifacts, kind, parent):
    other = artifacts[kind].model_copy(update={"parents": {parent: "f" * 16}})
    expected = f"its {kind} was made from {parent} {'f' * 16}, and .* given is "
    with pytest.raises(BundleError, match=expected + artifacts[parent].fingerprint):
        check_descent({**artifacts, kind: other})


def test_parts_of_two_corpora_are_refused(artifacts):
    corpus = manifest("preprocessed")
    with pytest.raises(BundleError, match=f"preprocessed p, and .* is {corpus.fingerprint}"):
        check_descent({"preprocessed": corpus, **artifacts})


def test_parts_of_two_specs_are_refused(artifacts):
    other = artifacts["model"].model_copy(update={"spec_fingerprint": "t", "parents": {}})
    with pytest.raises(BundleError, match=r"its model was made from feature spec t, .* is s"):
        check_descent({"pre_ranker": manifest("pre_ranker"), "model": other})
