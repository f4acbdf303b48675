"""Pretrained text encoders through every stage: `checkpoint` alone, and without training."""

import json
from copy import deepcopy

import numpy as np
import pytest

from tests.fixtures.odd_tables import SPEC, events, items, run_all, write_run
from tests.fixtures.tiny_checkpoint import (
    EPSILON,
    HEADS,
    HIDDEN,
    POSITIONS,
    VOCABULARY,
    bert_tensors,
    write_checkpoint,
)
from tests.reference import bert as reference
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.data.stored_embeddings import read_candidate_embeddings, read_query_embeddings
from tfrs_twotower.errors import ConfigError, FeatureSpecError

pytestmark = pytest.mark.integration
TITLES = ["calm guitar", "loud velvet", "louder", "guitar guitar calm", "velvet .", ""]
TOKENS = [[2, 4, 7, 3], [2, 5, 8, 3], [2, 5, 6, 3], [2, 7, 7, 4, 3], [2, 8, 9, 3], []]
TEXT = {"kind": "text", "encoder": "pretrained", "checkpoint": "bert", "max_tokens": 8}


def spec_of(**changes):
    """Users are named by texts; ids, a number and a category stand beside the title."""
    spec = deepcopy(SPEC)
    spec["query"]["features"].append(
        {"name": "words", "column": "user", "vocabulary": "pieces", **TEXT, **changes}
    )
    spec["candidate"]["features"][1] = {
        "name": "title", "vocabulary": "pieces", **TEXT, **changes
    }  # fmt: skip
    return spec


def written(directory, spec, **settings):
    write_checkpoint(directory / "bert")
    titled = [(row[0], title, *row[2:]) for row, title in zip(items(6), TITLES, strict=True)]
    rows = [(TITLES[int(row[0][1:]) % 5], *row[1:]) for row in events(5, 6)]
    settings = {"model": {"embedding_dim": HIDDEN}, **settings}
    return write_run(directory, rows, titled, spec, **settings)


def unit_mean(tokens):
    mean = reference.encode(bert_tensors(), tokens, HEADS, EPSILON).mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_a_run_without_training_ranks_as_the_pretrained_encoder(tmp_path):
    context, ran = run_all(written(tmp_path, spec_of(), training={"epochs": 0}), tmp_path / "w")
    assert ran == ["preprocess", "train", "embed", "build-index", "export", "evaluate"]
    layout = context.layout
    assert read_manifest(layout.model, "model").counts["steps"] == 0
    pieces = (layout.preprocessed / "vocabularies" / "pieces.txt").read_text(encoding="utf-8")
    assert pieces.splitlines() == list(VOCABULARY)
    candidates = read_candidate_embeddings(layout.embeddings)
    expected = np.stack([unit_mean(tokens) for tokens in TOKENS[:5]])
    np.testing.assert_allclose(candidates.vectors[:5], expected, atol=2e-3)
    assert np.linalg.norm(candidates.vectors[5]) == pytest.approx(1.0), "a title without words"
    queries = read_query_embeddings(layout.embeddings, "test")
    own = np.stack([unit_mean(TOKENS[TITLES.index(name)]) for name in queries.ids])
    np.testing.assert_array_equal(
        np.argsort(queries.vectors @ candidates.vectors[:5].T, axis=1),
        np.argsort(own @ expected.T, axis=1),
    )


@pytest.mark.slow
def test_a_checkpoint_alone_can_be_trained(tmp_path):
    run = written(tmp_path, spec_of(), model={"embedding_dim": 8})
    _, ran = run_all(run, tmp_path / "w")
    assert ran[-1] == "evaluate"


def without_weights(directory):
    (directory / "bert" / "model.safetensors").unlink()


def with_more_pieces(directory):
    with (directory / "bert" / "vocab.txt").open("a") as stream:
        stream.write("drum\nflute\n")


def without_heads(directory):
    (directory / "bert" / "config.json").write_text(json.dumps({"hidden_act": "gelu"}))


@pytest.mark.parametrize(
    ("spoil", "changes", "settings", "error", "message"),
    [
        (without_weights, {}, {}, FeatureSpecError, r"safetensors: cannot be read as safetensors"),
        (without_heads, {}, {}, FeatureSpecError, r"config\.json: cannot be read"),
        (with_more_pieces, {}, {}, FeatureSpecError, r"has 12 pieces, the encoder in .* 10\. Use"),
        (None, {"max_tokens": POSITIONS + 1}, {}, FeatureSpecError, "takes 3 to 16"),
        (None, {"checkpoint": "elsewhere"}, {}, FeatureSpecError, "elsewhere/model.safetensors: "),
        (None, {}, {"model": {"embedding_dim": 8}, "training": {"epochs": 0}}, ConfigError,
         r"training.epochs is 0 and the encoder .* 12 dimensions: .* Set model.embedding_dim: 12"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_before_preprocessing(
    tmp_path, spoil, changes, settings, error, message
):
    run = written(tmp_path, spec_of(**changes), **settings)
    if spoil:
        spoil(tmp_path)
    with pytest.raises(error, match=message):
        run_all(run, tmp_path / "w")
    assert [path.name for path in (tmp_path / "w").iterdir()] == [".lock"]
